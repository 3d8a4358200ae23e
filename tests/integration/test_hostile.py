"""Bad input: garbage on the wire, and values that cannot travel. It is dropped, counted and answered; all else goes on."""

from __future__ import annotations

import random
import secrets
import threading
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

import raymq as ray
from raymq.protocol.codec import data_header, pack
from raymq.protocol.control import encode_control
from raymq.protocol.route import Kind, Lane, encode_route
from tests.integration.conftest import CI_PATIENCE, Head, counted, there_and_back, wait_until

pytestmark = pytest.mark.cluster


def expect_counted(head: Head, name: str, before: int) -> None:
    wait_until(lambda: counted(head, name) > before, f"{name} is counted")


def test_garbage(cluster: Head, session: ray.Session, dealer: zmq.Socket[bytes]) -> None:
    """Thousands of malformed messages, and a session that works through them all."""
    rng = random.Random(1)
    before = counted(cluster, "malformed")
    dealer.connect(f"tcp://{cluster.address}")
    route = encode_route(Kind.HELLO, secrets.token_bytes(16))
    for number in range(2000):
        frames = [rng.randbytes(rng.randrange(40)) for _ in range(rng.randrange(1, 4))]
        if number % 3 == 0:
            frames[0] = route
        elif number % 3 == 1:
            frames[0] = encode_route(rng.choice(list(Kind)), rng.randbytes(16), rng.choice(list(Lane)))
        dealer.send_multipart(frames)
        if number % 200 == 0:
            assert there_and_back(ray)
    expect_counted(cluster, "malformed", before + 1000)
    assert there_and_back(ray)


def test_raw_bytes(cluster: Head, session: ray.Session) -> None:
    """Not even ZeroMQ."""
    import socket

    for noise in (b"GET / HTTP/1.1\r\n\r\n", secrets.token_bytes(1000), b"\xff" * 100, b""):
        with socket.create_connection(("127.0.0.1", cluster.port)) as connection:
            connection.sendall(noise)
    assert there_and_back(ray)


def test_malformed_hello_is_answered(cluster: Head, dealer: zmq.Socket[bytes]) -> None:
    dealer.connect(f"tcp://{cluster.address}")
    dealer.send_multipart([encode_route(Kind.HELLO, secrets.token_bytes(16)), pack({"protocol": "one"})])
    route, answer = dealer.recv_multipart()
    assert route[5] == Kind.REFUSED
    refusal = msgpack.unpackb(answer)
    assert (refusal["code"], refusal["retry"]) == ("malformed", False)
    assert "protocol" in refusal["message"]


def test_a_huge_frame_ends_only_its_own_connection(
    cluster: Head, session: ray.Session, dealer: zmq.Socket[bytes]
) -> None:
    dealer.connect(f"tcp://{cluster.address}")
    dealer.send_multipart([encode_route(Kind.HELLO, secrets.token_bytes(16)), bytes(17 << 20)])
    assert there_and_back(ray)


def test_strangers_are_told_to_attach(cluster: Head, dealer: zmq.Socket[bytes]) -> None:
    dealer.connect(f"tcp://{cluster.address}")
    session = secrets.token_bytes(16)
    dealer.send_multipart([encode_route(Kind.DATA, session), data_header(1, 0, 64, b"\x90")])
    assert dealer.recv_multipart()[0][5] == Kind.UNBOUND
    dealer.send_multipart([encode_route(Kind.ATTACH, session), encode_control(Kind.ATTACH, token=bytes(32))])
    route, answer = dealer.recv_multipart()
    assert route[5] in (Kind.ENDED, Kind.UNBOUND)


def test_the_session_of_another(cluster: Head, session: ray.Session, dealer: zmq.Socket[bytes]) -> None:
    """Who does not know the token can neither take a session over nor speak for it."""
    dealer.connect(f"tcp://{cluster.address}")
    for token in (bytes(32), b"short", secrets.token_bytes(32)):
        dealer.send_multipart([encode_route(Kind.ATTACH, session.id), encode_control(Kind.ATTACH, token=token)])
        assert dealer.recv_multipart()[0][5] == Kind.ENDED
    for kind in (Kind.DATA, Kind.ACK, Kind.SYNC):
        dealer.send_multipart([encode_route(kind, session.id), pack([1, 0, False])])
        assert dealer.recv_multipart()[0][5] == Kind.UNBOUND
    dealer.send_multipart([encode_route(Kind.BYE, session.id), encode_control(Kind.BYE, token=bytes(32))])
    hello = {"protocol": [1, 1], "token": bytes(32), "client": {}, "job": {}}
    dealer.send_multipart([encode_route(Kind.HELLO, session.id), encode_control(Kind.HELLO, **hello)])
    route, answer = dealer.recv_multipart()
    assert msgpack.unpackb(answer)["code"] == "session-taken"
    assert there_and_back(ray)


@pytest.mark.parametrize(
    "frame",
    [
        b"\xc1 no msgpack",
        data_header(1, 0, 64, b"\x91\x92\xcd\xff\xff\x01"),
        data_header(1, 0, 64, b"\x91\x93\x01\x02\x03"),
        data_header(1 << 40, 0, 64, b"\x90"),
        data_header(1, 1 << 40, 64, b"\x90"),
    ],
    ids=["no msgpack", "no such message", "wrong fields", "beyond the credit", "acknowledges the future"],
)
def test_a_client_that_breaks_the_stream_loses_its_session(
    brisk: Head, frame: bytes, dealer: zmq.Socket[bytes]
) -> None:
    """Only its own; it is told why; its bridge ends."""
    dealer.connect(f"tcp://{brisk.address}")
    session = secrets.token_bytes(16)
    client = {"python": ray.Session.__module__ and __import__("platform").python_version(), "ray": ""}
    hello = {"protocol": [1, 1], "token": bytes(32), "client": client, "job": {}}

    def greet() -> bool:
        dealer.send_multipart([encode_route(Kind.HELLO, session), encode_control(Kind.HELLO, **hello)])
        return dealer.recv_multipart()[0][5] == Kind.WELCOME

    wait_until(greet, "the session is open")
    dealer.send_multipart([encode_route(Kind.DATA, session), frame])

    def ended() -> Any:
        route, answer = dealer.recv_multipart()
        return msgpack.unpackb(answer) if route[5] == Kind.ENDED else None

    end = wait_until(ended, "the session has ended")
    assert end["code"] == "protocol-error"
    wait_until(lambda: not brisk.status()["sessions"], "the broker has forgotten it")


def test_arguments_that_cannot_be_pickled(session: ray.Session) -> None:
    @ray.remote
    def use(first: Any, second: Any = None) -> None: ...

    with pytest.raises(ray.NotPicklable, match=r"argument 1 of .*use, a _thread\.lock,"):
        use.remote(1, threading.Lock())
    with pytest.raises(TypeError, match="argument 'second' of"):
        use.remote(1, second=threading.Lock())
    with pytest.raises(ray.NotPicklable, match="the value of type list"):
        ray.put([threading.Lock()])
    lock = threading.Lock()
    with pytest.raises(ray.NotPicklable, match="the remote function .*captures"):

        @ray.remote
        def captures() -> None:
            lock.acquire()

        captures.remote()


def test_a_value_that_cannot_be_pickled_back(session: ray.Session) -> None:
    @ray.remote
    def make() -> Any:
        return threading.Lock()

    with pytest.raises(TypeError, match="_thread.lock"):
        ray.get(make.remote())


def test_a_function_that_cannot_be_unpickled_there(session: ray.Session) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return _spring, ()

    trap = Trap()

    @ray.remote
    def use() -> Any:
        return trap

    with pytest.raises(ray.NotUnpicklable, match="needs the module 'tests'"):
        ray.get(use.remote())


def _spring() -> None:
    raise RuntimeError("unpickled")


@pytest.mark.parametrize("bomb", [SystemExit, KeyboardInterrupt, RuntimeError, MemoryError])
def test_unpickling_that_raises(own_session: ray.Session, bomb: type[BaseException]) -> None:
    """User code runs in the bridge when values are unpickled; whatever it raises is the caller's error."""

    class Bomb:
        def __reduce__(self) -> Any:
            return _explode(), (bomb,)

    def _explode() -> Any:
        def explode(kind: type[BaseException]) -> None:
            raise kind("boom")

        return explode

    @own_session.remote(num_cpus=0)
    def use(value: Any) -> None: ...

    with pytest.raises(bomb):
        own_session.get(use.remote(Bomb()))
    stored = own_session.put(Bomb())
    for _ in range(2):
        with pytest.raises(bomb):
            own_session.get(use.remote(stored))
    with pytest.raises((bomb, ray.NotUnpicklable)):
        own_session.get(stored)

    @own_session.remote(num_cpus=0)
    def make(kind: type[Bomb], size: int) -> list[Any]:
        return [kind(), bytes(size)]

    small, large = make.remote(Bomb, 1), make.remote(Bomb, 200_000)
    for returned in (small, large, small, [make.remote(Bomb, 1) for _ in range(30)]):
        with pytest.raises((bomb, ray.NotUnpicklable, ray.exceptions.RaySystemError)):
            own_session.get(returned, timeout=CI_PATIENCE)
    assert there_and_back(own_session)


def test_objects_above_the_limit(session: ray.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways; the limit of this head is 1 GiB, and is lowered for the client here."""
    monkeypatch.setattr(session._life.packer, "object_max", 1_000_000)
    with pytest.raises(ray.PayloadTooLarge, match=r"the value of type numpy\.ndarray has 2,000,\d+ bytes.*1,000,000"):
        ray.put(np.zeros(2_000_000, dtype=np.uint8))
    with pytest.raises(ValueError, match="argument 0 of"):
        ray.remote(lambda x: x).remote(bytes(2_000_000))


@pytest.mark.timeout(240)
def test_values_above_the_limit(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def make() -> Any:
        return np.zeros((1 << 30) + 1, dtype=np.uint8)

    with pytest.raises(ray.PayloadTooLarge, match=r"1,073,742,\d+ bytes; this broker takes up to 1,073,741,824"):
        ray.get(make.remote())


def test_many_small_arrays(session: ray.Session) -> None:
    """More buffers than a packet can have frames."""
    arrays = [np.full(1000, i) for i in range(3000)]
    back = ray.get(ray.put(arrays))
    assert all(np.array_equal(a, b) for a, b in zip(arrays, back, strict=True))


def test_long_error_texts(session: ray.Session) -> None:
    @ray.remote
    def fail() -> None:
        raise ValueError("x" * 20_000_000)

    with pytest.raises(ValueError, match="characters") as caught:
        ray.get(fail.remote())
    assert len(str(caught.value)) < 100_000


def test_a_failure_whose_cause_is_above_the_limit(brisk: Head) -> None:
    """The description arrives, and the bridge lives on."""
    with brisk.connect() as session:
        session._life.packer.object_max = 1 << 40

        @session.remote(num_cpus=0)
        def fail() -> None:
            error = ValueError("large")
            error.load = [bytes(100_000)] * 3 + [bytes(range(256)) * 10_000]  # type: ignore[attr-defined]
            raise error

        with pytest.raises(ray.exceptions.RayError, match="large"):
            session.get(fail.remote())
        assert there_and_back(session)


def test_much_output(session: ray.Session, capfd: pytest.CaptureFixture[str]) -> None:
    """More lines at once than fit into one message."""

    @ray.remote(num_cpus=0)
    def speak() -> None:
        print("\n".join(f"{number:06} {'x' * 50_000}" for number in range(400)))
        print("the last line")

    ray.get(speak.remote())
    printed: list[str] = []

    def all_here() -> bool:
        printed.append(capfd.readouterr().out)
        return "the last line" in printed[-1]

    wait_until(all_here, "the last line has come")
    assert there_and_back(ray)


def test_references_in_causes_live_as_long_as_they_are_held(session: ray.Session) -> None:
    @ray.remote(num_returns=2, num_cpus=0)
    def fail(box: list[Any]) -> None:
        raise ValueError("with a reference", box[0])

    reference = ray.put("still here")
    first, second = fail.remote([reference])
    for _ in range(3):
        for failed in (first, second):
            with pytest.raises(ValueError, match="with a reference") as caught:
                ray.get(failed)
            assert ray.get(caught.value.cause.args[1]) == "still here"  # type: ignore[attr-defined]
            del caught
    assert ray.get(reference) == "still here"


def test_a_caught_error_can_be_handed_on(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def fail() -> None:
        raise KeyError("k")

    @ray.remote(num_cpus=0)
    def look(box: list[BaseException]) -> tuple[bool, bool, str]:
        (error,) = box  # alone, as an argument, Ray would take it for a dependency that failed
        return isinstance(error, KeyError), isinstance(error, ray.exceptions.RayTaskError), str(error)

    with pytest.raises(KeyError) as caught:
        ray.get(fail.remote())
    was_key_error, was_task_error, text = ray.get(look.remote([caught.value]))
    assert was_key_error
    assert was_task_error
    assert "KeyError: 'k'" in text


def test_a_runtime_env_that_cannot_be_made_there(cluster: Head, tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="takes plain data"):
        ray.connect(cluster.address, runtime_env={"config": tmp_path})
    with pytest.raises(ray.Refused, match="the Ray job could not be started"):
        ray.connect(cluster.address, runtime_env={"env_vars": 7}, timeout=60)
