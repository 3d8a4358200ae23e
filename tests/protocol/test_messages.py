"""The table of messages and the check of each field."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymq.errors import RemoteProtocolError
from raymq.protocol.codec import encode, unpack
from raymq.protocol.messages import (
    CODES,
    FROM_BRIDGE,
    FROM_CLIENT,
    MESSAGES,
    NOTHING,
    ON_BULK,
    Payload,
    Pickled,
    check_message,
    fields_of,
)
from tests.protocol.strategies import message_of, plain, strange

WRONG: dict[Any, list[Any]] = {
    int: [None, True, -1, 1 << 63, 1.0, "1", b"1", [1], {}],
    str: [None, 1, b"text", ["text"]],
    bytes: [None, 1, "text", [b"bytes"]],
    bool: [None, 0, 1, "true"],
    list[int]: [None, 1, {}, "", [None], [-1], [1 << 63], [True], [1, 2, "3"], [[1]]],
    list[str]: [None, "line", {}, [1], [b"line"], ["line", None]],
    dict[str, Any]: [None, [], "error", 1],
    Payload: [
        None, b"", [], {}, [b"", [], []], [b"", [], [], 0, 0], ["", [], [], 0], [None, [], [], 0], [b"", None, [], 0],
        [b"", [-1], [], 0], [b"", [], [True], 0], [b"", [], {}, 0], [b"", [], [], -1], [b"", [], [], None],
        [b"", [], [], False],
    ],
}  # fmt: skip
"""For each type of a field values that are none."""

CASES = [
    (code, position, value)
    for code in MESSAGES
    for fields in [fields_of(code)]
    for position, (_, kind) in enumerate(fields, 1)
    for value in WRONG[kind]
]


def right(code: int) -> list[Any]:
    """A message of this code, as it comes out of msgpack."""
    examples: dict[Any, Any] = {
        int: 1, str: "text", bytes: b"bytes", bool: True, list[int]: [1], list[str]: ["line"], dict[str, Any]: {"a": 1},
        Payload: [b"", [], [], 0],
    }  # fmt: skip
    return [code, *(examples[kind] for _, kind in fields_of(code))]


def test_the_table_is_whole() -> None:
    assert set(MESSAGES.values()) == {*FROM_CLIENT, *FROM_BRIDGE, *ON_BULK}
    assert len(MESSAGES) == len(FROM_CLIENT) + len(FROM_BRIDGE) + len(ON_BULK)
    assert all(CODES[MESSAGES[code]] == code for code in MESSAGES)
    assert all(tuple(name for name, _ in fields_of(code)) == MESSAGES[code]._fields for code in MESSAGES)


def test_where_there_is_a_payload_it_is_the_last_field() -> None:
    """The codec relies on it."""
    for fields in map(fields_of, MESSAGES):
        assert all(kind is not Payload and kind != Payload for _, kind in fields[:-1])
        assert all((name == "payload") == (kind == Payload) for name, kind in fields)


@pytest.mark.parametrize("code", MESSAGES)
def test_the_right_types_pass(code: int) -> None:
    assert check_message(right(code)) is MESSAGES[code]


@pytest.mark.parametrize(("code", "position", "value"), CASES)
def test_the_wrong_type_in_any_field_is_refused(code: int, position: int, value: Any) -> None:
    raw = right(code)
    raw[position] = value
    name = fields_of(code)[position - 1][0]
    with pytest.raises(RemoteProtocolError, match=rf"{MESSAGES[code].__name__}\.{name}"):
        check_message(raw)


@pytest.mark.parametrize("code", MESSAGES)
def test_a_field_too_many_or_too_few_is_refused(code: int) -> None:
    for raw in ([*right(code), 0], right(code)[:-1]):
        with pytest.raises(RemoteProtocolError, match=r"fields, here are|not a message"):
            check_message(raw)


@pytest.mark.parametrize(
    "raw", [None, 1, "text", b"", {}, [], [0], ["1"], [True], [1.0], [None], [31], [255], [-1], [[1]]]
)
def test_what_is_no_message(raw: Any) -> None:
    with pytest.raises(RemoteProtocolError, match="not a message"):
        check_message(raw)


@given(st.data(), st.sampled_from(sorted(MESSAGES)), strange)
def test_one_field_replaced_by_anything_passes_or_is_refused(data: st.DataObject, code: int, anything: Any) -> None:
    raw = unpack(encode(data.draw(message_of(code))).body)
    raw[data.draw(st.integers(0, len(raw) - 1))] = anything
    with suppress(RemoteProtocolError):
        assert check_message(unpack(msgpack.packb(raw))) in MESSAGES.values()


@given(plain)
def test_an_error_map_has_text_for_keys(value: Any) -> None:
    assert check_message([33, 1, {"kind": value}, [b"", [], [], 0]]) is MESSAGES[33]
    with pytest.raises(RemoteProtocolError, match="error"):
        check_message([33, 1, {b"kind": value}, [b"", [], [], 0]])


def test_the_size_of_a_payload_is_that_of_its_pickle_and_its_buffers() -> None:
    assert NOTHING.nbytes == 0
    assert Pickled(b"12345", [b"678", memoryview(b"90")]).nbytes == 10
