"""Which files a package leaves out."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymq.ignoring import Patterns


@pytest.mark.parametrize(
    ("lines", "left_out", "kept"),
    [
        (["*.pyc"], ["a.pyc", "deep/down/a.pyc"], ["a.py", "a.pyc.txt"]),
        (["data"], ["data", "data/x", "src/data/x"], ["data2", "src/mydata"]),
        (["/data"], ["data", "data/x"], ["src/data"]),
        (["data/"], ["data/x", "src/data/x/y"], ["data"]),  # a file of that name
        (["src/data"], ["src/data/x"], ["lib/src/data/x"]),
        (["**/logs/*.txt"], ["logs/a.txt", "a/b/logs/a.txt"], ["logs/a/b.txt"]),
        (["a/**/b"], ["a/b", "a/x/y/b"], ["b", "x/a/b"]),
        (["build/**"], ["build/x/y"], ["build", "a/build/x"]),
        (["*.csv", "!keep.csv"], ["a.csv", "d/a.csv"], ["keep.csv", "d/keep.csv"]),
        (["!keep.csv", "*.csv"], ["keep.csv"], []),
        (["a?c", "[x-z]1", "[!a]2"], ["abc", "x1", "b2"], ["a/c", "abbc", "a1", "a2"]),
        (["# a comment", "", "  ", "/", "!", "!/", "\\#file", "\\!file"], ["#file", "!file"], ["a comment", "file"]),
        (["a.b", "(c)", "d+"], ["a.b", "(c)", "d+"], ["axb", "c", "dd"]),
        (["[]x]", "a[", "*\\**"], ["]", "x", "a[", "1*2"], ["y", "a", "12"]),
    ],
)  # fmt: skip
def test_patterns(lines: list[str], left_out: list[str], kept: list[str]) -> None:
    patterns = Patterns(lines)
    assert [path for path in left_out if not patterns.exclude(path)] == []
    assert [path for path in kept if patterns.exclude(path)] == []


def test_a_pattern_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ValueError, match=r"'\[z-a\]' is no pattern"):
        Patterns(["fine", "[z-a]"])


NAMES = ["a", "b", "ab", "a.b", "-", "!", "#"]
LINE = st.builds(
    lambda negated, root, segments, end: f"{negated}{root}{'/'.join(segments)}{end}",
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "/"]),
    st.lists(st.sampled_from([*NAMES, "*", "**", "?", "a*", "*.b", "[ab]", "[!a]", "[^a]", "[]a]", "[]", "[]]", "[!]", "[!]a]", "[", "[a", "a\\*"]), min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
)  # fmt: skip
LINES = st.lists(
    # Where Ray's own reading fails, or is another than git's: a lone "!", and "**/**".
    LINE.filter(lambda line: line.strip("!/") and "**/**" not in f"{line}**"), min_size=1, max_size=4
)  # fmt: skip
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join)


@given(LINES, PATHS)
def test_they_mean_what_they_mean_to_ray(lines: list[str], path: str) -> None:
    pathspec = pytest.importorskip("ray._private.thirdparty.pathspec")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own
        theirs = pathspec.PathSpec.from_lines("gitwildmatch", lines)
    assert Patterns(lines).exclude(path) == theirs.match_file(path), lines
