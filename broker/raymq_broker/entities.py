"""What the broker knows of: sessions and bridges, and the states that they pass through."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class SessionState(Enum):
    """Where a session stands. The one table of its transitions::

    (new)     --client: HELLO-->           WAITING
    (unknown) --bridge: REGISTER-->        OPENING, and on if the bridge has opened it (the broker is new)
    WAITING   --a bridge is idle-->        OPENING
    WAITING   --client gone-->             (ended)
    OPENING   --bridge: OPENED-->          ATTACHED, or DETACHED if the client has gone meanwhile
    OPENING   --bridge: OPEN_FAILED-->     (ended)
    OPENING   --lease and grace over-->    (ended), unless it was there before and is handed over
    ATTACHED  --connection gone-->         DETACHED
    ATTACHED  --bridge: the client left--> DETACHED (named sessions)
    DETACHED  --client: ATTACH, HELLO-->   ATTACHED
    DETACHED  --another client: HELLO with its name-->  OPENING (named sessions; from ATTACHED, too, as a takeover)
    DETACHED  --grace over-->              (ended)
    any       --BYE, CLOSED, bridge lost-> (ended)
    """

    WAITING = "waiting"
    OPENING = "opening"
    ATTACHED = "attached"
    DETACHED = "detached"


class BridgeState(Enum):
    """Where a bridge stands. A bridge serves one session and ends with it. The one table of its transitions::

    (new) --REGISTER-->                        IDLE, or BUSY if it serves a session
    IDLE  --a session is placed-->             BUSY
    IDLE  --connection gone-->                 (forgotten)
    BUSY  --connection gone-->                 GONE
    GONE  --REGISTER, both lanes are there-->  BUSY
    GONE  --two heartbeats over-->             (forgotten, and its session ended)
    any   --its process has ended-->           DEAD if it serves a session, else (forgotten)
    DEAD  --its last words were waited for-->  (forgotten, and its session ended)
    """

    IDLE = "idle"
    BUSY = "busy"
    GONE = "gone"
    DEAD = "dead"


@dataclass
class Bridge:
    """A process that can drive the cluster for one session.

    Attributes:
        death: when and why its process ended, as its supervisor says; empty before.
    """

    id: bytes
    pid: int
    cluster: dict[str, Any]
    protocol: int
    since: float
    state: BridgeState = BridgeState.IDLE
    session: bytes | None = None
    lanes: dict[int, bytes] = field(default_factory=dict)
    death: str = ""


@dataclass
class Session:
    """One client's life, as far as the broker has a part in it; that of a named one, several clients' in turn.

    Attributes:
        id: names it on the wire. A named session gets a new one, and a new token, with each client.
        digest: the SHA-256 of its token.
        name: empty for one that has none.
        ttl: seconds for which it waits for its next client, if it has a name.
        left: its client has left it on purpose.
        replaces: the id that it had before, while its bridge is being told of the new one.
        contender: the id of a client that wants it while another has it.
        objects: references that its client holds, as its bridge told last.
        memory: bytes of memory that its bridge uses, as it told last.
    """

    id: bytes
    digest: bytes
    protocol: int
    client: dict[str, Any]
    job: dict[str, Any]
    since: float
    last_seen: float
    state: SessionState = SessionState.WAITING
    changed: float = 0.0
    bridge: bytes | None = None
    cluster: dict[str, Any] = field(default_factory=dict)
    lanes: dict[int, bytes] = field(default_factory=dict)
    name: str = ""
    ttl: float = 0.0
    left: bool = False
    replaces: bytes = b""
    contender: bytes = b""
    objects: int = 0
    memory: int = 0
