"""The client's I/O thread: what waits for room is let go, whatever becomes of the session."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
import zmq

from raymq import wire
from raymq.connection import Connection
from raymq.protocol.messages import Fetch, Goodbye, Pickled, Put
from raymq.wire import Wire


@pytest.fixture
def lonely() -> Any:
    """A wire to a socket that never answers."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        port = router.bind_to_random_port("tcp://127.0.0.1")
        hello = {"protocol": [1, 1], "python": "3", "raymq": "0", "client": {}, "job": {}}
        connection = Connection(bytes(16), bytes(32), hello, 0.0)
        lonely = Wire(f"tcp://127.0.0.1:{port}", False, connection, deque(), lambda event: None, lambda numbers: None)
        lonely.start()
        yield lonely
        lonely.abandon()


def assert_waits_until_the_end(lonely: Wire, message: Put, nbytes: int, **options: bool) -> None:
    """Posting this has to wait, and the end of the session lets it go."""
    waiting = threading.Thread(target=lonely.post, args=(message, nbytes), kwargs=options)
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    lonely.abandon()
    waiting.join(30)
    assert not waiting.is_alive()


def test_a_call_that_waits_for_room_is_let_go_when_the_session_ends(
    lonely: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is ever sent, so there is never room; the end of the session has to be enough."""
    monkeypatch.setattr(wire, "BACKLOG_MAX", 1000)
    lonely.post(Put(1, Pickled(bytes(2000))), 2000)
    assert_waits_until_the_end(lonely, Put(3, Pickled(b"")), 0)


def test_a_call_does_not_wait_for_room_beside_a_large_put(lonely: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "BACKLOG_MAX", 100_000)
    large = Pickled(b"", [bytes(1_000_000)])
    lonely.post(Put(1, large), large.nbytes)
    lonely.post(Put(3, Pickled(b"")), 0)
    assert_waits_until_the_end(lonely, Put(5, large), large.nbytes)  # there is no room for another large one


def test_a_question_does_not_wait_for_room(lonely: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks has a time limit of its own."""
    monkeypatch.setattr(wire, "BACKLOG_MAX", 1000)
    lonely.post(Put(1, Pickled(bytes(2000))), 2000)
    lonely.post(Fetch([1]), wait_room=False)


def test_a_large_put_is_let_go_when_the_session_ends(lonely: Wire) -> None:
    payload = Pickled(b"", [memoryview(bytearray(1_000_000))])
    assert_waits_until_the_end(lonely, Put(1, payload), payload.nbytes, wait_delivered=True)


def test_large_values_can_be_sent_at_exit() -> None:
    """Handlers are called in the reverse order of their registration; pyzmq's must not be called before a session's."""
    program = (
        "import atexit; calls = []; register = atexit.register\n"
        "atexit.register = lambda call, *args: calls.append(call.__qualname__) or register(call, *args)\n"
        "import raymq.session\n"
        "raymq.session.Session(lambda session: None)\n"
        "print(calls.index('GarbageCollector._atexit') < calls.index('_close_at_exit'), flush=True)\n"
        "import os; os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n", done.stderr


def test_posting_after_the_end_does_not_wait(lonely: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "BACKLOG_MAX", 0)
    lonely.abandon()
    lonely.post(Put(1, Pickled(b"")), 0, wait_delivered=True)


def test_nothing_comes_after_a_farewell() -> None:
    """Somebody posts and says farewell in the moment in which the I/O thread has found the outbox empty."""
    said: list[Any] = []

    class Outbox(queue.SimpleQueue[Any]):
        late = False

        def get_nowait(self) -> Any:
            try:
                return super().get_nowait()
            except queue.Empty:
                if not self.late:
                    self.late = True
                    quiet.post(Fetch([1]))
                    quiet._farewell = Goodbye()
                raise

    connection: Any = SimpleNamespace(channel=SimpleNamespace(send=said.append), close=said.append)
    quiet = Wire("tcp://127.0.0.1:1", False, connection, deque(), lambda event: None, lambda numbers: None)
    quiet._outbox = Outbox()
    for _ in range(2):
        quiet._take_outbox()
    quiet._waker.close()
    assert said == [Fetch([1]), Goodbye()]
