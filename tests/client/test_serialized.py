"""Values as Ray stores them are what they were; the garbage collector is as it was before they came."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymq.pickling import COLLECTOR_MAX, without_collector
from raymq.serialized import PYTHON_OBJECT, value_of

PLAIN = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary()
)
VALUES = st.recursive(
    PLAIN | st.frozensets(PLAIN) | st.complex_numbers(allow_nan=False) | st.integers(min_value=2**64),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(PLAIN | st.tuples(PLAIN), inner),
)


def stored(value: Any) -> tuple[bytes, bytes, list[pickle.PickleBuffer]]:
    """What Ray 2.60 does with a value: msgpack of exact types, and a list of what this does not have."""
    objects: list[Any] = []

    def mention(thing: Any) -> msgpack.ExtType:
        objects.append(thing)
        return msgpack.ExtType(PYTHON_OBJECT, msgpack.dumps(len(objects) - 1))

    plain = msgpack.dumps(value, default=mention, use_bin_type=True, strict_types=True)
    buffers: list[pickle.PickleBuffer] = []
    return plain, pickle.dumps(objects, 5, buffer_callback=buffers.append) if objects else b"", buffers


@given(VALUES)
def test_values_come_back(value: Any) -> None:
    came = value_of(*stored(value))
    assert came == value
    assert type(came) is type(value)


def test_many_objects_each_come_back_in_their_place() -> None:
    value = [(number,) for number in range(70_000)]  # places of one byte, of two, three and five
    assert value_of(*stored(value)) == value


def test_buffers_are_used_where_they_lie() -> None:
    memory = b"0123456789" * 1000
    plain, pickled, _ = stored([pickle.PickleBuffer(memory)])
    (came,) = value_of(memoryview(plain), memoryview(pickled), [memoryview(memory)])
    assert came.obj is memory


def test_what_another_language_has_stored_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"a type that Python does not have \(extension 7\)"):
        value_of(msgpack.dumps(msgpack.ExtType(7, b"")), b"", [])


def test_the_collector_pauses_for_what_is_large_alone() -> None:
    assert gc.isenabled()
    for nbytes in (COLLECTOR_MAX - 1, COLLECTOR_MAX):
        with without_collector(nbytes):
            assert gc.isenabled() == (nbytes < COLLECTOR_MAX)
        assert gc.isenabled()
    with pytest.raises(KeyError), without_collector(COLLECTOR_MAX):
        raise KeyError
    assert gc.isenabled()


@contextlib.contextmanager
def another_thread_is_at_it() -> Iterator[None]:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with without_collector(COLLECTOR_MAX):
            inside.set()
            leave.wait(20)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(20)
    try:
        yield
    finally:
        leave.set()
        thread.join()


def test_the_collector_goes_on_after_the_last_of_several_threads() -> None:
    with another_thread_is_at_it():
        with without_collector(COLLECTOR_MAX):
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_program_without_the_collector_stays_without() -> None:
    gc.disable()
    try:
        with without_collector(COLLECTOR_MAX):
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_that_is_forked_meanwhile_has_its_collector() -> None:
    with another_thread_is_at_it():
        child = os.fork()
        if not child:
            fine = gc.isenabled()
            with without_collector(COLLECTOR_MAX):
                fine = fine and not gc.isenabled()
            os._exit(0 if fine and gc.isenabled() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert gc.isenabled()
