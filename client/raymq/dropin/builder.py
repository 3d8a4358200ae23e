"""The builder that Ray asks for with ``ray.init("raymq://head:10001")`` or ``ray.client("raymq://head:10001")``."""

from __future__ import annotations

import os
import warnings
from typing import Any

import ray
import ray.client_builder
import ray.job_config

from raymq.connecting import open_session
from raymq.dropin.api import Api
from raymq.dropin.dialect import RaysDialect
from raymq.dropin.internals import check_version_info, connected_contexts, enter, is_asked_for_streams, leave, stub
from raymq.named import check_named
from raymq.options import check_init_options
from raymq.session import Session

CONNECT_TIMEOUT = 30.0
"""Seconds that a connection may take, as with Ray Client."""

OPTIONS = ("log_to_driver", "ignore_reinit_error", "session", "takeover", "ttl", "reconnect", "timeout")
"""What the builder understands of ``ray.init``, beside what Ray's own does; the last five are raymq's."""


class Connection:
    """Stands where a context of Ray's has its connection.

    Args:
        session: it.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._closed = False

    @property
    def is_lost(self) -> bool:
        """Whether it has ended without being closed: calls say why, and Ray may be connected again."""
        return not self._session.is_open

    def is_connected(self) -> bool:
        """Whether calls go to the session."""
        return not self._closed and not is_asked_for_streams()

    def close(self) -> None:
        """End it."""
        self._closed = True
        self._session.close()
        leave(self)

    def connection_info(self) -> dict[str, Any]:
        """What Ray wants to know of the other side."""
        cluster = self._session.info.cluster
        same = cluster["ray"] == ray.__version__
        return {
            "num_clients": 1,
            "python_version": cluster["python"],
            "ray_version": cluster["ray"],
            "ray_commit": ray.__commit__ if same else "",
        }


class Builder(ray.client_builder.ClientBuilder):  # type: ignore[misc]
    """Connects Ray to a cluster through a broker.

    Args:
        address: the broker's, without ``raymq://``.
    """

    def __init__(self, address: str | None) -> None:
        # Not super(): it wants grpc, which a Ray without extras has not.
        self.address = address
        self._job_config = ray.job_config.JobConfig()
        self._job_config.runtime_env = None  # else $RAY_RUNTIME_ENV would not be looked at
        self._allow_multiple_connections = False
        self._deprecation_warn_enabled = True
        self._options: dict[str, Any] = {}

    def _init_args(self, **options: Any) -> Builder:
        """Take the keywords of ``ray.init`` that differ from its defaults.

        Raises:
            ValueError: an option that a session on a running cluster cannot have.
        """
        if options.get("job_config") is not None:
            self._job_config = options["job_config"]
        if options.get("namespace") is not None:
            self.namespace(options["namespace"])
        if options.get("runtime_env") is not None:
            self.env(options["runtime_env"])
        self._allow_multiple_connections = options.get("allow_multiple") is True
        self._options = {name: options[name] for name in OPTIONS if name in options}
        taken = {"namespace", "runtime_env", "allow_multiple", *OPTIONS}
        check_init_options({name: value for name, value in options.items() if name not in taken})
        return self

    def connect(self) -> Any:
        """Open the session, and have Ray use it.

        Returns:
            Ray's ``ClientContext``.

        Raises:
            RuntimeError: Ray is connected already, or the versions of Ray or Python differ.
            ValueError: it is connected with ``allow_multiple=True``, and this one has not that.
            ConnectError: the session cannot be opened.
        """
        if self._deprecation_warn_enabled:
            self._client_deprecation_warn()
        self._fill_defaults_from_env()
        if self._allow_multiple_connections:
            before = stub.set_context(None)
            try:
                return self._connected()
            finally:
                stub.set_context(before)
        if stub.is_connected():
            if not getattr(stub.get_context().client_worker, "is_lost", False):
                return self._again()
        elif connected_contexts() > 0:
            raise ValueError(
                "The client has already connected to the cluster with allow_multiple=True. "
                "Please set allow_multiple=True to proceed"
            )
        return self._connected()

    def _again(self) -> Any:
        if not self._options.get("ignore_reinit_error"):
            raise RuntimeError(
                'Ray Client is already connected. Maybe you called ray.init("ray://<address>") twice by accident?'
            )
        return _described(stub.get_context())

    def _connected(self) -> Any:
        session = self._open()
        try:
            check_version_info(
                Connection(session).connection_info(),
                "Ray Client",
                raise_on_mismatch="RAY_IGNORE_VERSION_MISMATCH" not in os.environ,
                python_version_match_level="minor",
            )
        except BaseException:
            session.close()
            raise
        context = stub.get_context()
        context.disconnect()  # from a session that was lost
        context.api, context.client_worker = Api(session), Connection(session)
        context.shutdown = lambda *args, **kwargs: context.disconnect()  # Ray's own asks for grpc
        enter(context)
        return _described(context)

    def _open(self) -> Session:
        options = self._options
        runtime_env = self._job_config.runtime_env
        return open_session(
            self.address,
            timeout=options.get("timeout", CONNECT_TIMEOUT),
            job={
                "namespace": self._job_config.ray_namespace,
                "runtime_env": dict(runtime_env) if runtime_env else None,
            },
            log_to_driver=options.get("log_to_driver", True),
            named=check_named(options.get("session"), options.get("ttl"), takeover=options.get("takeover", False)),
            reconnect=options.get("reconnect"),
            dialect=RaysDialect(),
            any_version=True,
        )

    def _client_deprecation_warn(self) -> None:
        warnings.warn(
            f'ray.client() is deprecated by Ray: write ray.init("raymq://{self.address}", namespace=..., '
            "runtime_env=...)",
            DeprecationWarning,
            stacklevel=3,
        )


def _described(context: Any) -> Any:
    info = context.client_worker.connection_info()
    return ray.client_builder.ClientContext(
        dashboard_url=context.api._get_dashboard_url(),
        python_version=info["python_version"],
        ray_version=info["ray_version"],
        ray_commit=info["ray_commit"],
        _num_clients=info["num_clients"],
        _context_to_restore=context,
    )
