"""The code against the bytes in vectors.json, both ways."""

from __future__ import annotations

import json
from typing import Any

import pytest

from raymq.protocol.messages import MESSAGES
from raymq.protocol.route import Kind, Lane
from raymq.protocol.version import PROTOCOL_NEWEST
from tests.protocol.make_vectors import FILE, from_json, to_frames, to_json, to_packet

DOCUMENT = json.loads(FILE.read_text())
VECTORS = DOCUMENT["vectors"]
each_vector = pytest.mark.parametrize("vector", VECTORS, ids=[vector["what"].split(":")[0] for vector in VECTORS])


@each_vector
def test_encoding_gives_these_bytes(vector: dict[str, Any]) -> None:
    assert [bytes(frame).hex() for frame in to_frames(vector["packet"])] == vector["frames"]


@each_vector
def test_decoding_gives_this_packet(vector: dict[str, Any]) -> None:
    assert to_packet([bytes.fromhex(frame) for frame in vector["frames"]]) == vector["packet"]


def test_there_is_a_vector_for_every_kind_lane_and_message() -> None:
    packets = [vector["packet"] for vector in VECTORS]
    assert {packet["kind"] for packet in packets} == set(Kind.__members__)
    assert {packet["lane"] for packet in packets} == set(Lane.__members__)
    told = {message["message"] for packet in packets for message in packet.get("messages", [])}
    assert told == {kind.__name__ for kind in MESSAGES.values()}
    assert len({vector["what"] for vector in VECTORS}) == len(VECTORS)
    assert DOCUMENT["protocol"] == PROTOCOL_NEWEST


def test_json_holds_what_messages_hold() -> None:
    value = {"bytes": b"\x00\xff", "list": [1, "text", {"deep": b""}], "none": None}
    assert from_json(json.loads(json.dumps(to_json(value)))) == value


def test_some_bytes_worked_out_by_hand() -> None:
    """So that the vectors are not only what the code happens to give."""
    by_name = {vector["what"].split(":")[0]: vector for vector in VECTORS}
    session = "000102030405060708090a0b0c0d0e0f"
    assert by_name["Goodbye"]["frames"] == ["52594d5101200000" + session, "94" + "01" + "00" + "40" + "91" + "910b"]
    assert by_name["Fetch"]["frames"][1] == "94" + "010040" + "91" + "9206" + "92" + "01" + "ccc8"
    assert by_name["UNBOUND"]["frames"] == ["52594d51010b0000" + session, "80"]
    assert by_name["SYNC"]["frames"] == ["52594d5101220100" + session, "93" + "02" + "42" + "c2"]
