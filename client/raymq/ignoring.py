"""What a package leaves out: patterns in gitignore's syntax, as Ray reads them.

Ray matches the whole path of each file. So ``data/`` and then ``!data/keep.csv`` keeps that file, which git would not;
but ``data`` leaves out the directory, and nobody looks into it any more. What one ignore file leaves out, no other one
brings back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

BELOW = "(?:/.*)?"
"""What a pattern that names a directory says about all that is in it."""


class Patterns:
    """The lines of one ignore file, or one list of excludes; the last that matches a path decides.

    Args:
        lines: the patterns. Empty ones and comments, which begin with ``#``, say nothing.

    Raises:
        ValueError: one of them cannot be read.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules: list[tuple[re.Pattern[str], bool]] = []
        for line in lines:
            pattern = line.strip()
            negated = pattern.startswith("!")
            pattern = pattern[negated:]
            if pattern.strip("/") and (negated or not pattern.startswith("#")):
                self._rules.append((_compiled(pattern, negated=negated), not negated))

    def exclude(self, path: str) -> bool:
        """Whether they leave out a path, which is relative to where they stand."""
        return next((excludes for rule, excludes in reversed(self._rules) if rule.fullmatch(path)), False)


def _compiled(pattern: str, *, negated: bool) -> re.Pattern[str]:
    try:
        return re.compile(_expression(pattern, negated=negated))
    except re.error as error:  # [z-a], for instance
        raise ValueError(f"{pattern!r} is no pattern of files to leave out: {error}") from None


def _expression(pattern: str, *, negated: bool) -> str:
    """A pattern as a regular expression for whole paths."""
    if pattern.startswith(("\\#", "\\!")):
        pattern = pattern[1:]
    body, within = (pattern[:-1], True) if pattern.endswith("/") else (pattern, False)
    anchored = "/" in body
    segments = body.removeprefix("/").split("/")
    if within:
        segments.append("**")
    if not anchored and segments[0] != "**":
        segments.insert(0, "**")
    if segments == ["**"]:
        return ".+"
    return _joined(segments, "" if negated or segments[-1] in ("*", "**") else BELOW)


def _joined(segments: list[str], end: str) -> str:
    first, last = 0, len(segments) - 1
    parts, slash = [], ""
    for place, segment in enumerate(segments):
        if segment == "**" and place == first:
            parts.append("(?:.+/)?")
        elif segment == "**":
            parts.append("/.*" if place == last else "(?:/.+)?")
        else:
            parts.append(slash + ("[^/]+" if segment == "*" else _glob(segment)))
            slash = "/"
    return "".join(parts) + end


_TOKEN = re.compile(
    r"""\\(?P<escaped>.) | \[(?:(?P<no>!)|(?!!))(?P<set>\]?[^\]]+|\])\] | (?P<wild>[*?]) | (?P<plain>.)""",
    re.DOTALL | re.VERBOSE,
)


def _glob(segment: str) -> str:
    """One name of a pattern: ``*`` and ``?`` stand for all but a slash, ``[a-z]`` and ``[!a-z]`` for a character."""
    parts = []
    for token in _TOKEN.finditer(segment):
        if token["wild"]:
            parts.append("[^/]*" if token["wild"] == "*" else "[^/]")
        elif token["set"]:
            escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", token["set"])
            parts.append(f"[{'^' if token['no'] else ''}{escaped}]")
        else:
            parts.append(re.escape(token["escaped"] or token["plain"]))
    return "".join(parts)
