"""Every bound and every interval of the protocol, in one place."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

PORT = 10001
"""The broker's port where none is named: the one that Ray Client used."""

INLINE_MAX = 64 * KIB
"""A payload of up to so many bytes travels inside its message; a larger one goes as chunks on the bulk lane."""

CHUNK = MIB
"""Bytes in one chunk of a large payload: chunks of this size pipeline through the broker, one huge frame does not."""

BATCH_BYTES = 256 * KIB
"""A packet takes in messages until it holds this many bytes."""

BATCH_MESSAGES = 512
"""A packet takes in at most this many messages."""

MESSAGE_MAX = 16 * MIB
"""The largest single frame a peer may send. The sockets drop a connection that sends a larger one."""

BODY_MAX = MESSAGE_MAX - KIB
"""Bytes that one encoded message may have without its buffers, so that it fits into a frame with its header."""

BUFFERS_MAX = 4 * BATCH_MESSAGES
"""The most frames that one packet may have behind its first two."""

PACKET_MAX = MESSAGE_MAX + MIB
"""Bytes that all frames of a packet may have: the largest message, and the buffers of a payload that goes inline."""

TRANSFER_PARTS_MAX = 16 * BUFFERS_MAX
"""The most parts, its pickle and its buffers, that a payload on the bulk lane may have."""

WINDOW_CALLS = 64
"""Credit on the calls lane, in packets, each way: at most 64 batches that the receiver has not looked at."""

WINDOW_BULK = 16
"""Credit on the bulk lane, in packets, each way: at most 16 MiB of chunks under way."""

WINDOW_BYTES = 32 * MIB
"""Credit on each lane, in bytes, each way: no packet is sent while so many are not dealt with. The packets of a window
hold less, unless their messages are very large: then this keeps what a receiver holds small."""

TRANSFERS_ACTIVE = 4
"""Large payloads that share the bulk lane at a time; later ones wait their turn."""

TRANSFERS_EARLY = 16
"""Large payloads that may begin before the peer acknowledges the messages that announce them; later ones wait. So a
receiver whose calls lane hangs holds no more than so many payloads that it cannot place."""

HELLO_MAX = 256 * KIB
"""Bytes that a HELLO may have, so that what it says still fits wherever it is handed on."""

CLIENT_TEXT_MAX = 200
"""Characters of a client's description of itself (user, host, ...) that the broker keeps, for each."""

HELD_MAX = 256 * MIB
"""Bytes of large payloads that have arrived and that their receiver has not dealt with, before it gives no more credit
on the bulk lane."""

REFS_MAX = 1_000_000
"""References that one payload may mention, and values that one call may return."""

TEXT_MAX = 64 * KIB
"""Characters of an error's message or traceback, or of a line that a worker prints; longer ones lose their middle."""

REFS_PER_MESSAGE = 10_000
"""A message that lists references (fetch, release, ...) lists at most this many; longer lists are cut up."""


@dataclass(frozen=True)
class Timing:
    """The intervals of liveness, all in seconds.

    Attributes:
        heartbeat: between two heartbeats, each way.
        lease: silence after which the broker holds a client (or bridge) for detached.
        grace: how long a detached session is kept for its client to resume.
    """

    heartbeat: float = 1.0
    lease: float = 10.0
    grace: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat < self.lease:
            raise ValueError(
                f"the heartbeat interval ({self.heartbeat} s) must be above 0 and below the lease ({self.lease} s)"
            )
        if self.grace < 0:
            raise ValueError(f"the grace period ({self.grace} s) cannot be negative")


PROBE_AFTER = 1.0
"""Seconds without progress of what was sent before a stream asks its peer where it stands; doubles up to PROBE_MAX."""

PROBE_MAX = 10.0

ACK_DELAY = 0.02
"""Seconds that an acknowledgement may wait for traffic to ride on."""

LIVELY = 0.01
"""Seconds after a small message that somebody waits for in which chunks of large payloads step back."""

CHUNK_PAUSE = 0.002
"""Seconds from one chunk to the next in that time: 500 MB/s at most."""

NAME_MAX = 200
"""Characters that the name of a session, or of what it keeps, may have."""

KEPT_MAX = 10_000
"""References that a session may keep by name."""

TTL = 24 * 3600.0
"""Seconds for which a named session waits for its next client, unless it is told another time."""

TTL_MAX = 365 * 24 * 3600.0
"""The longest such time."""

OBJECT_MAX = 64 * GIB
"""The largest value, pickled, in bytes, unless the broker is told another limit."""

QUEUE_MAX = 64 * MIB
"""Bytes that the broker has sent to a connection without knowing that they were read, unless it is told another limit:
above what honest ends have under way."""

INTAKE_MAX = 64 * MIB
"""Bytes that may have come over a client's connection without the broker having handled them: above what honest ends
have under way. A connection that brings more is closed, and its session ended."""

INTAKE_TOTAL = 16 * INTAKE_MAX
"""Bytes that may have come over all of them; above it the connections that brought the most are closed."""

SESSIONS_MAX = 64
"""Sessions that one broker serves at a time, unless it is told another limit."""
