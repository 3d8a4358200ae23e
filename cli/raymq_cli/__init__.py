"""The command line of raymq: start, status, stop, demo."""

from __future__ import annotations

import importlib.util
import sys

_NEEDED = ("click", "rich", "structlog", "psutil")


def main() -> int:
    """Entry point of the command ``raymq``; returns (or exits with) the exit code."""
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        print('raymq: the command line needs the head extra: pip install "raymq[head]"', file=sys.stderr)
        return 1
    from raymq_cli.commands import raymq  # the thin client's installation has none of what this needs

    raymq(auto_envvar_prefix="RAYMQ", prog_name="raymq")
    return 0
