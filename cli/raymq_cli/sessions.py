"""``raymq sessions``: who has a session on the brokers that run here, and the end of one."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console

from raymq.protocol.route import Kind
from raymq_cli.asking import ask
from raymq_cli.runtime import State
from raymq_cli.status import counted, sessions_table


def show(states: list[State], console: Console, *, as_json: bool) -> None:
    """Print the sessions of all brokers, as a table or as JSON."""
    found = [
        {"broker": state.address, **session}
        for state in states
        for session in (ask(state.bridges) or {"sessions": []})["sessions"]
    ]
    if as_json:
        click.echo(json.dumps({"sessions": found}, indent=2, default=repr))
    elif found:
        console.print(sessions_table(found, whole=True))
    else:
        console.print("No session.", style="dim")


def kill(states: list[State], name: str) -> tuple[bool, str]:
    """End the session of this name, or whose id begins so; whether that was done, and what to tell the user."""
    fits = [fit for state in states for fit in (ask(state.bridges) or {"sessions": []})["sessions"] if _is(fit, name)]
    if len(fits) != 1:
        hint = "see `raymq sessions`"
        if not fits:
            return False, f"There is no session {name!r}: {hint}."
        return False, f"{counted(len(fits), 'session')} fit {name!r}: give more of the id; {hint}."
    ended = [
        session for state in states for session in (ask(state.bridges, Kind.KILL, which=name) or _NONE)["sessions"]
    ]
    if [session["id"] for session in ended] != [fits[0]["id"]]:
        return False, f"The session {name!r} was not ended: it is gone already, or its broker does not answer."
    return True, f"Ended the session {fits[0]['name'] or fits[0]['id']}."


_NONE: dict[str, Any] = {"sessions": []}


def _is(session: dict[str, Any], name: str) -> bool:
    return bool(name) and (session["name"] == name or session["id"].startswith(name.lower()))
