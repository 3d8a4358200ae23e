"""What Hypothesis draws: messages from the table of their fields, and everything that msgpack can say."""

from __future__ import annotations

from typing import Any

import msgpack
from hypothesis import strategies as st

from raymq.protocol.messages import MESSAGES, Coming, Message, Payload, Pickled, fields_of

counts = st.integers(0, (1 << 63) - 1)
some_counts = st.lists(counts, max_size=5)
some_bytes = st.binary(max_size=20)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | some_bytes,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
"""All that msgpack carries without extensions."""

strange = plain | st.builds(msgpack.Timestamp, st.integers(0, 1 << 40), st.integers(0, 999_999_999)) | st.builds(
    msgpack.ExtType, st.integers(0, 127), some_bytes
)  # fmt: skip

pickled = st.builds(Pickled, some_bytes, st.lists(some_bytes, max_size=3), some_counts)
coming = st.builds(Coming, st.integers(1, (1 << 63) - 1), some_counts)

BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    int: counts,
    str: st.text(max_size=10),
    bytes: some_bytes,
    bool: st.booleans(),
    list[int]: some_counts,
    list[str]: st.lists(st.text(max_size=10), max_size=3),
    dict[str, Any]: st.dictionaries(st.text(max_size=6), plain, max_size=3),
    Payload: pickled | coming,
}


def message_of(code: int) -> st.SearchStrategy[Message]:
    """Any message of this code, all its fields right."""
    return st.builds(MESSAGES[code], **{name: BY_TYPE[kind] for name, kind in fields_of(code)})


messages = st.one_of([message_of(code) for code in MESSAGES])
