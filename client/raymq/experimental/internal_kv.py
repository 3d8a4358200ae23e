"""``ray.experimental.internal_kv``: the cluster's own store of keys and values, which Ray's libraries use.

Keys, values and namespaces are bytes; a string stands for its UTF-8 bytes. What is put in stays until it is deleted,
also when its session has ended. In tasks and actors these functions are Ray's own.
"""

from __future__ import annotations

from typing import cast

from raymq.api import current_session, is_initialized


def _internal_kv_initialized() -> bool:
    """Whether there is a session that can be asked."""
    return is_initialized()


def _internal_kv_get(key: str | bytes, *, namespace: str | bytes | None = None) -> bytes | None:
    """The value of a key; None if it has none."""
    return cast("bytes | None", current_session().request("internal_kv", "get", key, namespace=namespace))


def _internal_kv_exists(key: str | bytes, *, namespace: str | bytes | None = None) -> bool:
    """Whether a key has a value."""
    return cast(bool, current_session().request("internal_kv", "exists", key, namespace=namespace))


def _internal_kv_put(
    key: str | bytes, value: str | bytes, overwrite: bool = True, *, namespace: str | bytes | None = None
) -> bool:
    """Give a key a value.

    Args:
        key: the key.
        value: its value.
        overwrite: also where it has one.
        namespace: whose keys these are.

    Returns:
        Whether it had one before.
    """
    told = current_session().request("internal_kv", "put", key, value, overwrite, namespace=namespace)
    return cast(bool, told)


def _internal_kv_del(key: str | bytes, *, del_by_prefix: bool = False, namespace: str | bytes | None = None) -> int:
    """Delete a key, or all keys that begin with it.

    Returns:
        How many there were.
    """
    asked = {"del_by_prefix": del_by_prefix, "namespace": namespace}
    return cast(int, current_session().request("internal_kv", "del", key, **asked))


def _internal_kv_list(prefix: str | bytes, *, namespace: str | bytes | None = None) -> list[bytes]:
    """All keys that begin with a prefix."""
    return cast("list[bytes]", current_session().request("internal_kv", "list", prefix, namespace=namespace))
