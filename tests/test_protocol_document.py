"""protocol.md and the code say the same: every table of the document is read and held against what it describes.

What needs no more than the protocol is imported. Broker and bridge are read as source, so that this test needs
neither Ray nor the head's packages.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from raymq import connection
from raymq.protocol import codec, control, limits, messages, route, version
from raymq.protocol.messages import Payload, Pickled, Put
from raymq_bridge.packages import Packages
from raymq_bridge.sharing import Sharing
from raymq_bridge.shelf import Shelf
from raymq_broker.bridges import ENTRY

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "protocol.md"
BROKER = [path for path in (ROOT / "broker/raymq_broker").glob("*.py") if path.name != "__main__.py"]
ENTITIES = ROOT / "broker/raymq_broker/entities.py"
LINK = ROOT / "worker_bridge/raymq_bridge/link.py"
BELONGINGS = ROOT / "worker_bridge/raymq_bridge/belongings.py"

Row = dict[str, str]

# --- reading the document


def _cells(line: str) -> list[str]:
    return [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]


def _tables() -> Iterator[tuple[tuple[str, ...], list[Row]]]:
    lines = DOCUMENT.read_text().splitlines()
    head: tuple[str, ...] = ()
    rows: list[Row] = []
    for line, following in pairwise([*lines, "", ""]):
        if not line.startswith("|"):
            if head:
                yield head, rows
            head = ()
        elif not head:
            assert set(following) <= set("|- :"), f"a table without its second line: {line}"
            head, rows = tuple(_cells(line)), []
        elif set(line) - set("|- :") or "| |" in line:
            cells = _cells(line)
            assert len(cells) == len(head), f"a row of another length than its head: {line}"
            rows.append(dict(zip(head, cells, strict=True)))


TABLES = list(_tables())


def table(*columns: str, holding: str = "") -> list[Row]:
    """The one table with these columns, whose first column has that cell."""
    found = [
        rows
        for head, rows in TABLES
        if head == columns and (not holding or any(holding in _names(row[columns[0]]) for row in rows))
    ]
    assert len(found) == 1, f"{len(found)} tables {columns} with {holding!r} in {DOCUMENT.name}"
    return found[0]


def _names(cell: str) -> list[str]:
    return [name.strip("` ") for name in cell.split(",")]


def filled(rows: list[Row], *columns: str) -> list[Row]:
    """The rows with what they leave out because the row above says it already."""
    above: Row = {}
    done = []
    for row in rows:
        if row[columns[0]]:
            above = row
        done.append(row | {column: above[column] for column in columns})
    return done


# --- reading the code


def source(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def codes_given_to(path: Path, *functions: str) -> set[str]:
    """The first text with the form of a code among the arguments of each call of these functions."""
    codes = set()
    for node in ast.walk(source(path)):
        if isinstance(node, ast.Call) and called(node) in functions:
            arguments = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "code")]
            texts = [arg.value for arg in arguments if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            codes.update(text for text in texts[:1] if is_code(text))
    return codes


def codes_given_in(paths: list[Path], *functions: str) -> set[str]:
    """The same for several modules."""
    return set().union(*(codes_given_to(path, *functions) for path in paths))


def is_code(text: str) -> bool:
    return re.fullmatch(r"[a-z]+(-[a-z]+)*", text) is not None


def assigned(path: Path, name: str) -> ast.expr:
    """The expression that a module assigns to a name."""
    for node in ast.walk(source(path)):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets) and node.value:  # type: ignore[attr-defined]
            return node.value  # type: ignore[attr-defined, no-any-return]
    raise AssertionError(f"{path.name} assigns nothing to {name}")


def keys(expression: ast.expr) -> list[str]:
    assert isinstance(expression, ast.Dict)
    return [key.value for key in expression.keys if isinstance(key, ast.Constant)]


def number(path: Path, name: str) -> Any:
    """The value of a constant that is made of numbers and of the constants of ``limits``."""
    code = compile(ast.Expression(assigned(path, name)), str(path), "eval")
    return eval(code, {**vars(limits), "__builtins__": {}})  # our own source, and the only way without importing Ray


def states(path: Path, enum: str) -> set[str]:
    for node in ast.walk(source(path)):
        if isinstance(node, ast.ClassDef) and node.name == enum:
            return {each.value.value for each in node.body if isinstance(each, ast.Assign)}  # type: ignore[attr-defined]
    raise AssertionError(f"{path.name} has no {enum}")


# --- version, route, kinds


def test_the_first_lines_name_the_version_of_the_code() -> None:
    title, _, line, *_ = DOCUMENT.read_text().splitlines()
    assert title == f"# The raymq protocol, version {version.PROTOCOL_NEWEST}"
    newest, oldest, again = map(int, re.findall(r"\d+", line))
    assert (oldest, newest, again) == (version.PROTOCOL_OLDEST, version.PROTOCOL_NEWEST, version.PROTOCOL_NEWEST)


def test_the_route_is_laid_out_as_the_code_packs_it() -> None:
    rows = table("offset", "bytes", "field", "value")
    session = bytes(range(1, 17))
    frame = route.encode_route(route.Kind.ACK, session, route.Lane.BULK)
    parts = {row["field"]: frame[int(row["offset"]) :][: int(row["bytes"])] for row in rows}
    assert parts == {
        "magic": bytes.fromhex("52594D51"),
        "version": bytes([version.PROTOCOL_NEWEST]),
        "kind": bytes([route.Kind.ACK]),
        "lane": bytes([route.Lane.BULK]),
        "reserved": b"\0",
        "session": session,
    }
    assert b"".join(parts.values()) == frame


def test_the_kinds_are_those_of_the_code() -> None:
    rows = table("number", "name", "direction", "frames")
    assert [(int(row["number"]), row["name"]) for row in rows] == [(kind.value, kind.name) for kind in route.Kind]
    frames = {row["name"]: row["frames"] for row in rows}
    assert {name for name, what in frames.items() if what == "route, map"} == {kind.name for kind in control.CONTROL}
    assert {name for name, what in frames.items() if what != "route, map"} == {kind.name for kind in route.SWITCHED}


def test_the_required_keys_of_the_control_maps_are_those_of_the_code() -> None:
    rows = table("kind", "key", "type", "required", "meaning")
    types = {"array": list, "bin": bytes, "str": str, "map": dict, "int": int, "float": float, "bool": bool}
    told: dict[str, dict[str, type]] = {kind.name: {} for kind in control.CONTROL}
    for row in rows:
        if row["required"] == "yes":
            told[row["kind"]][row["key"]] = types[row["type"]]
    assert told == {kind.name: expected for kind, expected in control.CONTROL.items()}


def test_the_optional_keys_of_the_control_maps_are_those_of_the_code() -> None:
    rows = table("kind", "key", "type", "required", "meaning")
    told = {(row["kind"], row["key"]): row["type"] for row in rows if row["required"] == "no"}
    types = {str: "str", int: "int", float: "float", bool: "bool", bytes: "bin"}
    in_code = {(kind.name, key): types[t] for kind, keys_ in control.OPTIONAL.items() for key, t in keys_.items()}
    assert told == in_code


def test_the_entry_of_a_session_in_register_is_that_of_the_code() -> None:
    rows = table("key", "type", "meaning", holding="digest")
    types = {bytes: "bin", int: "int", dict: "map", str: "str", float: "float", bool: "bool"}
    assert [(row["key"], row["type"]) for row in rows] == [(key, types[kind]) for key, kind in ENTRY.items()]


# --- messages

_TYPES: dict[Any, str] = {
    int: "int",
    str: "str",
    bytes: "bin",
    bool: "bool",
    list[int]: "[int]",
    list[str]: "[str]",
    dict[str, Any]: "map",
    Payload: "payload",
}


def test_the_messages_are_those_of_the_code() -> None:
    rows = filled(table("code", "message", "direction", "field", "type", "meaning"), "code", "message", "direction")
    told: dict[tuple[int, str], list[tuple[str, str]]] = {}
    for row in rows:
        fields = told.setdefault((int(row["code"]), row["message"]), [])
        if row["field"]:
            fields.append((row["field"], row["type"]))
    in_code = {
        (code, message.__name__): [(name, _TYPES[kind]) for name, kind in messages.fields_of(code)]
        for code, message in messages.MESSAGES.items()
    }
    assert told == in_code


def test_the_directions_of_the_messages_are_those_of_the_code() -> None:
    rows = table("code", "message", "direction", "field", "type", "meaning")
    told = {row["message"]: row["direction"] for row in rows if row["message"]}
    groups = {
        "client to bridge": messages.FROM_CLIENT,
        "bridge to client": messages.FROM_BRIDGE,
        "both ways, bulk lane": messages.ON_BULK,
    }
    assert told == {message.__name__: way for way, group in groups.items() for message in group}


def test_every_type_of_a_field_is_explained() -> None:
    assert [row["type"] for row in table("type", "on the wire")] == list(_TYPES.values())


def test_a_payload_is_laid_out_as_the_code_packs_it() -> None:
    rows = table("position", "field", "type", "meaning")
    assert [int(row["position"]) for row in rows] == [0, 1, 2, 3]
    encoded = codec.encode(Put(1, Pickled(b"pickle", [b"buffer"], [3])))
    packed = codec.unpack(encoded.body)[2]
    told = dict(zip((row["field"] for row in rows), packed, strict=True))
    assert told == {"inband": b"pickle", "sizes": [6], "refs": [3], "transfer": 0}
    assert [row["type"] for row in rows] == ["bin", "[int]", "[int]", "int"]


# --- codes


def test_the_codes_of_refusals_are_those_of_the_code() -> None:
    rows = table("code", "retry", "when")
    versions = ROOT / "client/raymq/protocol/versions.py"
    in_code = (
        codes_given_in(BROKER, "refuse", "_drop_unopened")
        | codes_given_to(versions, "Mismatch")
        | codes_given_to(ROOT / "worker_bridge/raymq_bridge/bridge.py", "failed")
    )
    assert {row["code"] for row in rows} == in_code
    retried = {
        next(arg.value for arg in node.args if isinstance(arg, ast.Constant))
        for path in BROKER
        for node in ast.walk(source(path))
        if isinstance(node, ast.Call) and called(node) in ("refuse", "_drop_unopened")
        for keyword in node.keywords
        if keyword.arg == "retry" and isinstance(keyword.value, ast.Constant) and keyword.value.value
    } | {"no-cluster"}  # by comparison with this code, in open_failed
    assert {row["code"] for row in rows if row["retry"] == "yes"} == retried


def test_the_codes_of_ends_are_those_of_the_code() -> None:
    client = ROOT / "client/raymq"
    in_code = (
        codes_given_in(BROKER, "end", "end_and_close", "closed", "Ending")
        | codes_given_to(LINK, "Ended")
        | codes_given_to(ROOT / "worker_bridge/raymq_bridge/bridge.py", "_end")
        | codes_given_to(client / "connection.py", "_end")
        | codes_given_to(client / "wire.py", "Ended")
    )
    assert {row["code"] for row in table("code", "said by", "when")} == in_code


def test_every_text_with_the_form_of_a_code_is_in_the_document() -> None:
    """So that a code which is given in a way that the tests above don't see is not overlooked."""
    known = {row["code"] for row in (*table("code", "retry", "when"), *table("code", "said by", "when"))}
    bridge = ROOT / "worker_bridge/raymq_bridge/bridge.py"
    texts = {
        node.value
        for path in (*BROKER, LINK, bridge)
        for node in ast.walk(source(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "-" in node.value and is_code(node.value)
    }
    assert texts <= known


def test_connect_has_an_exception_for_the_refusals_of_the_document() -> None:
    rows = table("code", "retry", "when")
    told = keys(assigned(ROOT / "client/raymq/connecting.py", "REFUSALS"))
    assert set(told) == {row["code"] for row in rows} - {"malformed", "session-taken", "session-differs", "bad-job"}


# --- states


def test_the_states_of_a_session_are_those_of_the_broker() -> None:
    rows = table("state", "event", "next", holding="attached")
    assert {row["state"] for row in rows} - {"(none)", "any"} == states(ENTITIES, "SessionState")


def test_the_states_of_a_bridge_are_those_of_the_broker() -> None:
    rows = table("state", "event", "next", holding="busy")
    assert {name for row in rows for name in _names(row["state"])} - {"(none)"} == states(ENTITIES, "BridgeState")


def test_the_states_of_a_client_are_those_of_the_code() -> None:
    rows = table("state", "event", "next", holding="greeting")
    assert {row["state"] for row in rows} == {state.value for state in connection.State}


def test_the_states_that_a_bridge_sees_are_those_of_the_code() -> None:
    rows = table("state", "event", "next", holding="unregistered")
    assert {name for row in rows for name in _names(row["state"])} == states(LINK, "LinkState")


# --- pickles, errors, requests


def test_what_stands_for_objects_towards_a_bridge_is_what_it_resolves() -> None:
    rows = table("kind", "fields", "stands for", holding="function")
    assert [row["kind"] for row in rows] == keys(assigned(BELONGINGS, "_RESOLVERS"))


def test_what_stands_for_objects_towards_a_client_is_what_it_resolves() -> None:
    rows = table("kind", "fields", "stands for", holding="exception")
    compared = {
        node.comparators[0].value
        for path in (ROOT / "client/raymq").glob("*.py")
        for node in ast.walk(source(path))
        if isinstance(node, ast.Compare)
        and ast.unparse(node.left) == "kind"
        and isinstance(node.comparators[0], ast.Constant)
    }
    assert {row["kind"] for row in rows} == compared


def test_the_keys_of_a_described_error_are_those_of_the_code() -> None:
    rows = table("key", "type", "meaning", holding="traceback")
    module = source(ROOT / "worker_bridge/raymq_bridge/failures.py")
    [function] = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef) and node.name == "describe"]
    [always] = [node for node in ast.walk(function) if isinstance(node, ast.Dict)]
    [loop] = [node for node in ast.walk(function) if isinstance(node, ast.For)]
    sometimes = [ast.literal_eval(pair)[1] for pair in loop.iter.elts]  # type: ignore[attr-defined]
    [adding] = [
        node for node in ast.walk(source(BELONGINGS)) if isinstance(node, ast.FunctionDef) and node.name == "_described"
    ]
    sometimes += [
        ast.literal_eval(node.slice)
        for node in ast.walk(adding)
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)
    ]
    assert [row["key"] for row in rows] == [*keys(always), *sometimes]
    assert [row["key"] for row in rows if "optional" in row["meaning"]] == sometimes


def test_the_operations_of_requests_are_those_of_the_bridge() -> None:
    rows = table("operation", "arguments", "returns")
    faces = [BELONGINGS.parent / name for name in ("cluster/operations.py", "services.py")]
    operations = [name for face in faces for name in keys(assigned(face, "OPERATIONS"))]
    operations += [name for face in (Packages, Shelf, Sharing) for name in face().operations]
    assert [row["operation"] for row in rows] == operations


# --- limits

_MODULES = {
    "control": [ROOT / "client/raymq/protocol/control.py"],
    "pickling": [ROOT / "client/raymq/pickling.py"],
    "connection": [ROOT / "client/raymq/connection.py"],
    "client": [*(ROOT / "client/raymq").glob("*.py")],
    "broker": BROKER,
    "bridge": [path for path in BELONGINGS.parent.rglob("*.py") if path.name != "__main__.py"],
}
LIMITS = {row["constant"]: row["value"] for row in table("constant", "value", "unit", "what happens at it")}


def _written(value: float) -> str:
    return str(value) if type(value) is float or value == limits.PORT else f"{value:,}"


def test_the_limits_are_all_those_of_the_code() -> None:
    units = {"KIB", "MIB", "GIB"}
    expected = {name: _written(value) for name, value in vars(limits).items() if name.isupper() and name not in units}
    timing = limits.Timing()
    expected |= {f"Timing.{name}": _written(getattr(timing, name)) for name in timing.__dataclass_fields__}
    assert {name: value for name, value in LIMITS.items() if name.partition(".")[0] not in _MODULES} == expected


@pytest.mark.parametrize("constant", [name for name in LIMITS if name.partition(".")[0] in _MODULES])
def test_the_limits_of_other_modules_are_those_of_the_code(constant: str) -> None:
    module, _, name = constant.partition(".")
    [path] = [path for path in _MODULES[module] if re.search(rf"^{name} = ", path.read_text(), re.MULTILINE)]
    assert LIMITS[constant] == _written(number(path, name))


def test_no_limit_of_the_handshake_is_left_out() -> None:
    expected = {
        f"{module.__name__.rpartition('.')[2]}.{name}"
        for module in (control, connection)
        for name, value in vars(module).items()
        if name.isupper() and type(value) in (int, float)
    }
    assert expected == {name for name in LIMITS if name.partition(".")[0] in ("control", "connection")}
