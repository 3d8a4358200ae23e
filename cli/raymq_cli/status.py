"""``raymq status``: asks each running broker what it knows, and shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from raymq_cli.asking import Published
from raymq_cli.runtime import State

_SHOWN = 20
"""Publications that people see; the others are for machines."""


@dataclass(frozen=True)
class Report:
    """What is known of one instance.

    Attributes:
        state: what it left word of.
        reply: the broker's answer; None if there was none.
        published: what is published on its cluster; None if that was not asked.
    """

    state: State
    reply: dict[str, Any] | None
    published: Published | None = None

    def as_json(self) -> dict[str, Any]:
        """For ``raymq status --json``."""
        return {
            "supervisor": {"pid": self.state.pid, "started": self.state.started, "ready": self.state.ready},
            "address": self.state.address,
            "cluster": self.state.cluster,
            "publications": None if self.published is None or self.published.problem else self.published.listed,
            **(self.reply or {"broker": None, "bridges": [], "sessions": [], "counters": {}}),
        }


def show(reports: list[Report], console: Console, now: float) -> None:
    """Print what people want to know: where to connect, who is connected, which bridges there are."""
    for number, report in enumerate(reports):
        if number:
            console.print()
        console.print(_instance(report, now))


def _instance(report: Report, now: float) -> RenderableType:
    state, reply = report.state, report.reply
    if reply is None:
        what = "does not answer" if state.address else "is starting"
        return Text.assemble(("raymq ", "bold"), f"{what} (supervisor pid {state.pid})")
    parts: list[RenderableType] = [_head(state, reply, now), Text()]
    sessions, bridges = reply["sessions"], reply["bridges"]
    parts.append(sessions_table(sessions) if sessions else Text("Nobody is connected.", style="dim"))
    parts.append(Text())
    parts.append(_bridges(bridges) if bridges else Text("There is no bridge; clients wait for one.", style="yellow"))
    if report.published is not None:
        parts += _publications(report.published)
    if told := {name: count for name, count in sorted(reply["counters"].items()) if count}:
        parts += [Text(), Text("Counters", style="bold"), Padding(_counters(told), (0, 0, 0, 2))]
    return Group(*parts)


def _head(state: State, reply: dict[str, Any], now: float) -> RenderableType:
    broker = reply["broker"]
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    address = broker.get("address") or state.address
    grid.add_row("connect", Text(f'raymq.connect("{address}")', style="bold green"))
    grid.add_row("cluster", state.cluster or "none yet")
    grid.add_row("up", f"{span(broker.get('uptime', now - state.started))}, raymq {broker.get('version', '?')}")
    pids = f"supervisor {state.pid}" + (f", broker {broker['pid']}" if broker.get("pid") else "")
    grid.add_row("pids", pids)
    return grid


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_style="bold", title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in columns:
        right = name.startswith(">")
        table.add_column(
            name.lstrip(">"),
            header_style="dim",
            justify="right" if right else "left",
            no_wrap=right,
            overflow="ellipsis",
        )
    return table


def _plain(text: str) -> Text:
    """What a client told of itself: neither rich's markup nor the terminal's escapes have a meaning in it."""
    return Text("".join(char if char.isprintable() else "?" for char in text))


def sessions_table(sessions: list[dict[str, Any]], *, whole: bool = False) -> Table:
    """Who has a session, as the broker told; ``whole``: also what it holds, and when it ends without a client."""
    more = (">objects", ">memory", ">ends in") if whole else ()
    title = counted(len(sessions), "session")
    table = _table(title, "session", "client", "state", ">age", ">last seen", *more)
    for session in sessions:
        holds = (f"{session['objects']:,}", size(session["memory"]), span(session["expires_in"])) if whole else ()
        table.add_row(
            _plain(str(session.get("name") or str(session.get("id", "?"))[:8])),
            _plain(_client(session.get("client") or {})),
            _state(str(session.get("state", "?"))),
            span(session.get("age")),
            _ago(session.get("last_seen")),
            *holds,
        )
    return table


def _publications(published: Published) -> list[RenderableType]:
    if published.problem:
        return [Text(), Text.assemble("What is published is not known: ", _plain(published.problem), style="yellow")]
    if not published.count:
        return []
    title = counted(published.count, "publication")
    table = _table(title, "name", "kind", ">size", "owner", ">age", ">ends in")
    for entry in published.listed[:_SHOWN]:
        table.add_row(
            _plain(str(entry["name"])),
            str(entry["kind"]),
            size(entry["size"] or 0),
            _plain(_person(entry["owner"])),
            span(entry["age"]),
            span(entry["expires_in"]),
        )
    rest = published.count - len(published.listed[:_SHOWN])
    more = [Text(f"and {rest:,} more: raymq status --json", style="dim")] if rest else []
    return [Text(), table, *more]


def _person(client: dict[str, Any]) -> str:
    return "@".join(str(client[key]) for key in ("user", "host") if client.get(key))


def _client(client: dict[str, Any]) -> str:
    who = _person(client)
    pid = f" pid {client['pid']}" if client.get("pid") else ""
    name = str(client.get("name") or client.get("program") or "")
    return f"{name} ({who}{pid})" if name and who else f"{name or who or '?'}{pid}"


def _bridges(bridges: list[dict[str, Any]]) -> Table:
    table = _table(counted(len(bridges), "bridge"), "bridge", ">pid", "state", "session", "python", "ray")
    for bridge in bridges:
        cluster = bridge.get("cluster") or {}
        table.add_row(
            _plain(str(bridge.get("id", "?"))[:8]),
            _plain(str(bridge.get("pid", "?"))),
            _state(str(bridge.get("state", "?"))),
            _plain(str(bridge.get("session") or "-")[:8]),
            _plain(str(cluster.get("python", "?"))),
            _plain(str(cluster.get("ray", "?"))),
        )
    return table


def _counters(counters: dict[str, Any]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column(justify="right")
    for name, count in counters.items():
        grid.add_row(name, f"{count:,}")
    return grid


_STYLES = {"idle": "dim", "busy": "green", "attached": "green", "detached": "yellow"}


def _state(name: str) -> Text:
    return Text(name, style=_STYLES.get(name, ""))


def size(count: float) -> str:
    """A number of bytes: ``-`` for none, ``12 B``, ``12 kB``, ``118 MB``, ``1.5 GB``."""
    if not count:
        return "-"
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}" if count < 10 * scale else f"{count / scale:,.0f} {unit}"
    return f"{count / 1e3:.0f} kB" if count >= 1e3 else f"{count:.0f} B"


def counted(count: int, noun: str) -> str:
    """``1 session``, ``2 sessions``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _ago(seconds: float | None) -> str:
    return "-" if seconds is None else "now" if seconds < 2 else f"{span(seconds)} ago"


def span(seconds: float | None) -> str:
    """A length of time, in its two largest units: ``42 s``, ``3 min 5 s``, ``2 h 10 min``, ``4 d 3 h``."""
    if seconds is None:
        return "-"
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
