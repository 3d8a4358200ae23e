"""What a session knows of both its sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raymq.connection import Welcomed
from raymq.named import Named
from raymq.protocol import versions


@dataclass(frozen=True)
class SessionInfo:
    """Both sides of a session.

    Attributes:
        session_id: 32 hexadecimal digits.
        address: the broker's, as it was given.
        protocol: the protocol version that is spoken.
        client: ``python``, ``raymq``, ``ray`` (empty without one), ``packages`` of this process.
        cluster: the same of the cluster.
        job_id: the Ray job of this session.
        node_id: the Ray node on which its driver runs.
        namespace: the namespace of its named actors.
        dashboard_url: Ray's dashboard, ``HOST:PORT``, or empty.
        name: of a session with a name; empty for one without.
        ttl: seconds for which the named session waits for a client.
        resumed: whether the named session was there before this client.
        differing_packages: packages that both sides have in different versions: name to (client's, cluster's).
    """

    session_id: str
    address: str
    protocol: int
    client: dict[str, Any]
    cluster: dict[str, Any]
    job_id: str
    node_id: str
    namespace: str
    dashboard_url: str
    name: str
    ttl: float
    resumed: bool
    differing_packages: dict[str, tuple[str, str]]


_KEPT = ("python", "raymq", "ray", "packages")


def session_info(session: bytes, address: str, named: Named, client: dict[str, Any], welcomed: Welcomed) -> SessionInfo:
    """Put together what the two sides have told of themselves in the handshake."""
    cluster = welcomed.cluster
    return SessionInfo(
        session_id=session.hex(),
        address=address,
        protocol=welcomed.protocol,
        client={key: client[key] for key in _KEPT},
        cluster={key: cluster.get(key) for key in _KEPT},
        job_id=str(cluster.get("job_id", "")),
        node_id=str(cluster.get("node_id", "")),
        namespace=str(cluster.get("namespace", "")),
        dashboard_url=str(cluster.get("dashboard_url", "")),
        name=named.name,
        ttl=named.ttl,
        resumed=welcomed.resumed,
        differing_packages=versions.differing_packages(client["packages"], cluster.get("packages") or {}),
    )
