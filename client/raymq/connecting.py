"""``connect()``: from an address to an open session, stage by stage."""

from __future__ import annotations

import logging
import os
import platform
import queue
import sys
import time
from importlib import import_module
from typing import Any

from raymq import errors
from raymq.address import Address, parse, resolve
from raymq.connection import Connection, Ended, Event, RefusedHello, Welcomed
from raymq.dialect import Dialect
from raymq.info import session_info
from raymq.life import Life
from raymq.lives import ADVICE, Reconnect
from raymq.named import NAMELESS, Named
from raymq.protocol import compression as compressions
from raymq.protocol import versions
from raymq.protocol.codec import pack
from raymq.protocol.limits import HELLO_MAX
from raymq.protocol.version import PROTOCOL_NEWEST, PROTOCOL_OLDEST
from raymq.runtime_env import names_files
from raymq.session import Session
from raymq.wire import Wire

log = logging.getLogger("raymq")

QUICK = 0.3
"""Seconds in which a broker that is there has answered; after that we look at what is there instead."""

LOOK_AGAIN = 0.5
"""Seconds between two looks."""

SAY_AFTER = 2.0
"""Seconds after which one log line says what is being waited for."""

REFUSALS: dict[str, type[errors.ConnectError]] = {
    "protocol-mismatch": errors.ProtocolMismatch,
    "python-mismatch": errors.PythonMismatch,
    "ray-mismatch": errors.RayMismatch,
    "no-bridge": errors.NoBridge,
    "no-cluster": errors.NoCluster,
    "limit-reached": errors.LimitReached,
    "session-attached": errors.SessionAttached,
    "session-busy": errors.SessionAttached,
}
"""The broker's codes for its refusals, and what they are raised as; any other is ``Refused``."""


class CalledOff(Exception):
    """The attempt to open a session is called off."""


class Attempt:
    """An attempt to open a session, with one handshake or several, which another thread may call off."""

    def __init__(self) -> None:
        self._called_off = False
        self._events: queue.SimpleQueue[Event | CalledOff] = queue.SimpleQueue()

    def next_handshake(self) -> queue.SimpleQueue[Event | CalledOff]:
        """Where the events of the handshake that begins now are put.

        Raises:
            CalledOff: it was, meanwhile.
        """
        self._events = queue.SimpleQueue()  # first: of this and call_off() one sees what the other did
        if self._called_off:
            raise CalledOff
        return self._events

    def call_off(self) -> None:
        """Have it raise ``CalledOff`` soon, and leave nothing behind. Too late if it has succeeded."""
        self._called_off = True
        self._events.put(CalledOff())


def open_session(
    address: str | None,
    *,
    timeout: float,
    job: dict[str, Any],
    log_to_driver: bool,
    named: Named = NAMELESS,
    program: str | None = None,
    reconnect: Reconnect = None,
    compression: str | None = compressions.AUTO,
    attempt: Attempt | None = None,
    dialect: Dialect | None = None,
    any_version: bool = False,
) -> Session:
    """Open a session; see ``raymq.connect``.

    A runtime environment that names files of this machine has them uploaded first, through a session without one: the
    environment belongs to the Ray job of the session, so it has to be there when that begins.

    Args:
        address: as there, like the others that have the same name.
        timeout: as there.
        job: ``namespace`` and ``runtime_env``.
        log_to_driver: as there.
        named: its name, and what goes with that.
        program: what the broker is told of this program; the script's name if left out.
        reconnect: as there.
        compression: as there.
        attempt: by which it can be called off, from another thread.
        dialect: what its things are to the program.
        any_version: whether the broker is not to compare versions: the caller does so.
    """
    files = names_files(job.get("runtime_env"))
    if files:
        job = {**job, "runtime_env": import_module("raymq.uploading").located(job["runtime_env"])}
    _check_job(job)
    if reconnect not in ADVICE:
        raise ValueError(f'reconnect is "new" or None, not {reconnect!r}')
    where = parse(address)
    wish = compressions.wish(compression)
    attempts = [attempt] if attempt is not None else []
    about = {**_about(program), "compression": wish, **({"any_version": True} if any_version else {})}

    def begin(session: Session) -> Life:
        life = Life(session, os.urandom(16), log_to_driver=log_to_driver)
        this = attempts.pop() if attempts else Attempt()  # only the first can be called off
        ready = upload(this) if files else job
        _open_life(life, where, timeout, ready, named, about, this.next_handshake())
        return life

    def upload(this: Attempt) -> dict[str, Any]:
        with open_session(
            address, timeout=timeout, job={}, log_to_driver=False, program=program, compression=compression,
            attempt=this, any_version=any_version,
        ) as porter:  # fmt: skip
            environment = import_module("raymq.uploading").uploaded(job["runtime_env"], porter.request)
        return {**job, "runtime_env": environment}

    return Session(begin, reconnect, dialect)


def _open_life(
    life: Life,
    where: Address,
    timeout: float,
    job: dict[str, Any],
    named: Named,
    client: dict[str, Any],
    handshake: queue.SimpleQueue[Event | CalledOff],
) -> None:
    """Shake hands."""
    endpoint, ipv6 = resolve(where)
    now = time.monotonic()
    hello = {
        "protocol": [PROTOCOL_OLDEST, PROTOCOL_NEWEST],
        "client": client,
        "job": {key: value for key, value in job.items() if value is not None},
        **named.as_hello(),
    }

    def handle(event: Event) -> None:
        if isinstance(event, Welcomed | RefusedHello | Ended):
            handshake.put(event)
        life.receiver.handle(event)

    connection = Connection(life.id, os.urandom(32), hello, now)
    wire = Wire(endpoint, ipv6, connection, life.dropped, handle, life.forget)
    wire.start()
    try:
        welcomed = _await_welcome(where, handshake, now + timeout, timeout)
    except BaseException:
        wire.abandon()
        raise
    info = session_info(life.id, str(where), named, client, welcomed)
    life.open(wire, info, welcomed.object_max)


def _about(program: str | None) -> dict[str, Any]:
    return {
        **versions.description(),
        "user": _user(),
        "host": platform.node(),
        "pid": os.getpid(),
        "program": program or _program(),
    }


def _check_job(job: dict[str, Any]) -> None:
    """Refuse a runtime environment that cannot be made on the other side.

    Raises:
        ValueError: it holds what is no plain data, or is too large.
    """
    try:
        size = len(pack(job))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"runtime_env takes plain data (strings, numbers, lists, dicts): {error}") from None
    if size > HELLO_MAX // 2:
        raise ValueError(f"the runtime_env has {size:,} bytes; at most {HELLO_MAX // 2:,} travel in the handshake")


def _program() -> str:
    return "".join(sys.argv[:1]).rpartition(os.sep)[2] or "python"


def _user() -> str:
    import getpass  # with what it needs, a tenth of what the rest of a connect() takes

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid())


def _await_welcome(
    where: Address, handshake: queue.SimpleQueue[Event | CalledOff], deadline: float, timeout: float
) -> Welcomed:
    """Wait for the broker's welcome, and find out why it does not come.

    What waiting can heal is waited for; what it cannot is raised at once.
    """
    started = time.monotonic()
    waiting_for: errors.ConnectError = errors.ConnectTimeout(f"{where} did not answer")
    said = False
    patience = QUICK
    while (now := time.monotonic()) < deadline:
        try:
            event = handshake.get(timeout=min(patience, deadline - now))
        except queue.Empty:
            if not isinstance(waiting_for, tuple(REFUSALS.values())):
                waiting_for = _look(where)
            patience = LOOK_AGAIN
        else:
            if isinstance(event, Welcomed):
                return event
            if isinstance(event, CalledOff):
                raise event
            if isinstance(event, Ended):
                raise errors.Refused(f"{where} ended the session at once ({event.code}): {event.message}")
            if isinstance(event, RefusedHello):
                refusal = REFUSALS.get(event.code, errors.Refused)(event.message)
                if not event.retry:
                    raise refusal
                # A bridge that finds no cluster ends; that the next one is still to come says less than why.
                if not (isinstance(waiting_for, errors.NoCluster) and isinstance(refusal, errors.NoBridge)):
                    waiting_for = refusal
        if not said and handshake.empty() and time.monotonic() - started > SAY_AFTER:
            said = True
            log.warning("connect() is waiting: %s (it gives up after %g s)", waiting_for, timeout)
    raise type(waiting_for)(f"{waiting_for} (waited {timeout:g} s)")


def _look(where: Address) -> errors.ConnectError:
    """Look at what listens there.

    Raises:
        NotABroker: it speaks another protocol, which waiting does not heal.
    """
    from raymq.diagnosis import Found, diagnose  # only where a connection fails

    diagnosis = diagnose(where)
    if diagnosis.found in (Found.GRPC, Found.OTHER):
        raise errors.NotABroker(diagnosis.text)
    if diagnosis.found is Found.NOTHING:
        return errors.NothingListens(diagnosis.text)
    if diagnosis.found is Found.SILENT:
        return errors.NotABroker(diagnosis.text)
    return errors.ConnectTimeout(
        f"a ZeroMQ socket listens at {where}, but no answer to the handshake came: it is no raymq broker, or one that "
        "is overloaded or stopped, or its bridge takes long to connect to the cluster"
    )
