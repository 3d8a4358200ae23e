"""Lengths of time, as people write them: ``90``, ``"90s"``, ``"30m"``, ``"24h"``, ``"7d"``."""

from __future__ import annotations

import math
import re

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TEXT = r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([smhdSMHD])\s*"
_FORMS = 'write seconds as a number, or "90s", "30m", "24h", "7d"'


def parse(what: str, duration: float | str) -> float:
    """Read a length of time.

    Args:
        what: the name of the argument, for the error.
        duration: seconds, or a text of a number and a unit: s, m, h or d.

    Returns:
        Seconds, above 0.

    Raises:
        TypeError: this is neither a number nor a text.
        ValueError: it cannot be read, or is not above 0, or has no end.
    """
    if isinstance(duration, bool) or not isinstance(duration, int | float | str):
        raise TypeError(f"{what} is a length of time, not {type(duration).__name__}: {_FORMS}")
    seconds = _read(what, duration) if isinstance(duration, str) else _float(duration)
    if not 0 < seconds < math.inf:
        raise ValueError(f"{what} is a length of time above 0 and with an end, not {duration!r}: {_FORMS}")
    return seconds


def _read(what: str, text: str) -> float:
    match = re.fullmatch(_TEXT, text)
    if match is None:
        raise ValueError(f"{what}={text!r} is no length of time: {_FORMS}")
    return float(match[1]) * _UNITS[match[2].lower()]


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # an int beyond all floats
        return math.inf
