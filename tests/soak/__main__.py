"""``python -m tests.soak``: a long storm of faults, and a table of what came of it. Ends with 1 if anything is wrong."""

from __future__ import annotations

import argparse
import dataclasses
import sys

from rich.console import Console

from tests.soak.report import show
from tests.soak.storm import Plan, storm


def scaled(plan: Plan) -> Plan:
    """What else happens, and how long it may take, goes with the number of faults."""
    usual = Plan()
    share = plan.faults / usual.faults
    times = {name: max(1, round(getattr(usual, name) * share)) for name in ("kills", "suspends", "freezes")}
    return dataclasses.replace(plan, **times, limit=usual.limit * max(1.0, share, plan.calls / usual.calls))


def main() -> None:
    """Run one plan."""
    plan = Plan()
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    for name, text in (
        ("faults", "at least so many faults"),
        ("calls", "at least so many calls"),
        ("clients", "so many clients, side by side"),
        ("seed", "of everything that is drawn"),
    ):
        parser.add_argument(f"--{name}", type=int, default=getattr(plan, name), help=f"{text} (%(default)s)")
    plan = scaled(dataclasses.replace(plan, **vars(parser.parse_args())))
    console = Console()
    console.print(
        f"A storm with seed {plan.seed}: {plan.clients} clients, at least {plan.faults:,} faults and {plan.calls:,} calls. "
        "About 5 minutes on two cores."
    )
    outcome = storm(plan, None, lambda line: console.print(line, highlight=False))
    show(outcome, console)
    sys.exit(1 if outcome.wrong else 0)


if __name__ == "__main__":
    main()
