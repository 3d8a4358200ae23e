"""What was measured, as a table, as a chart, and held against what is expected."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

EXPECTED = Path(__file__).with_name("expected.json")

NOISE = 0.75
"""A ratio may be so much of what the slowest of several runs showed before it is a regression: machines are noisy."""

THEIRS = ("native", "Ray Client")
OURS = ("raymq", "drop-in")
"""The thin client, and an installed Ray that goes over it."""

LIMIT = "limit"
"""A native call and then a round trip through the bare pipe: raymq, if its own code took no time."""

Rates = dict[str, dict[str, list[float]]]
"""By row and contender: all that was measured, per second."""


def median(rates: Rates, row: str, name: str) -> float:
    """0 where the contender cannot do it, or was not asked."""
    measured = rates.get(row, {}).get(name)
    return statistics.median(measured) if measured else 0.0


def ratios(results: dict[str, Any], ours: str = "raymq") -> dict[str, float]:
    """How many times as fast as the native driver, and as Ray Client, raymq is in each row."""
    found = {}
    for row, measured in results["rates"].items():
        for name in THEIRS:
            theirs = median(results["rates"], row, name)
            if theirs and ours in measured:
                found[f"{row} / {name}"] = median(results["rates"], row, ours) / theirs
    return found


def slowest(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The lowest of each ratio that these runs have."""
    found: dict[str, float] = {}
    for what, ratio in (each for run in runs for each in ratios(run).items()):
        found[what] = min(ratio, found.get(what, ratio))
    return found


def check(results: dict[str, Any]) -> list[str]:
    """What is slower than expected, by more than the noise."""
    expected: dict[str, float] = json.loads(EXPECTED.read_text())
    now = ratios(results)
    return [
        f"{what}: {now[what]:.2f}, expected {ratio:.2f}"
        for what, ratio in expected.items()
        if what in now and now[what] < NOISE * ratio
    ]


def show(results: dict[str, Any], console: Console) -> None:
    """Tables on the terminal."""
    rates: Rates = results["rates"]
    table = Table(title="per second (medians), and how many times as fast raymq is")
    table.add_column("row", no_wrap=True)
    for name in (*THEIRS, *OURS, "spread", "/ native", "/ Client"):
        table.add_column(name, justify="right", no_wrap=True)
    for row, cells in _lines(results):
        ours = rates[row].get("raymq", [0.0])
        spread = (max(ours) - min(ours)) / max(statistics.median(ours), 1e-9)
        table.add_row(row, *cells[:4], f"{spread:.0%}", *cells[4:])
    console.print(table)
    other = Table(title="other figures")
    other.add_column("what", no_wrap=True)
    other.add_column("figure", justify="right", no_wrap=True)
    for what, value in _figures(results):
        other.add_row(what, _figure(value))
    console.print(other)


def markdown(results: dict[str, Any]) -> str:
    """The same for the documents."""
    machine = results["machine"]
    lines = [
        f"Python {machine['python']}, Ray {machine['ray']}, {machine['cpus']} cores, loopback; medians, per second.",
        "",
        "| | native | Ray Client | raymq | drop-in | raymq / native | raymq / Ray Client |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [f"| {row} | " + " | ".join(cells) + " |" for row, cells in _lines(results)]
    lines += ["", "| | |", "|---|--:|"]
    lines += [f"| {what} | {_figure(value)} |" for what, value in _figures(results)]
    return "\n".join(lines) + "\n"


def _lines(results: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Each row with its cells: the four contenders, and raymq against the native driver and Ray Client."""
    rates, found = results["rates"], ratios(results)
    for row, measured in rates.items():
        cells = [_figure(median(rates, row, name)) if name in measured else "" for name in (*THEIRS, *OURS)]
        cells = ["cannot" if cell == "0" else cell for cell in cells]
        yield row, cells + [_figure(found[key]) if (key := f"{row} / {name}") in found else "" for name in THEIRS]


def _figures(results: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """All that is no rate of a contender; of the limit of a row first how many times it is what others reach."""
    rates: Rates = results["rates"]
    for row in rates:
        limit = median(rates, row, LIMIT)
        for name in ("Ray Client", "raymq"):
            other = median(rates, row, name)
            if limit and other:
                yield f"{row}: native and then the bare pipe / {name}", limit / other
    yield from results["figures"].items()


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


LEFT = 1e-3
"""Where the chart begins: to get a large array, a native driver looks into shared memory, whatever its size."""


def chart(results: dict[str, Any], path: Path) -> None:
    """An SVG: each row's rate as a part of the native driver's, on a logarithmic scale."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "raymq"
    from matplotlib import pyplot as plt

    rates: Rates = results["rates"]
    rows = [row for row in rates if median(rates, row, "native")][::-1]
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(rows) + 1.2))
    for offset, name, color in (
        (0.27, "raymq", "#1f6feb"), (0.0, "drop-in", "#7fb0f5"), (-0.27, "Ray Client", "#b0b7c0"),
    ):  # fmt: skip
        parts = [median(rates, row, name) / median(rates, row, "native") for row in rows]
        axes.barh([place + offset for place in range(len(rows))], parts, 0.26, color=color, label=name)
        for place, part in enumerate(parts):
            text = f" {part:.2g}" if part else " cannot"
            axes.text(max(part, LEFT), place + offset, text, va="center", fontsize=7)
    axes.axvline(1, color="#24292f", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(LEFT, 300.0)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_yticks(range(len(rows)), rows, fontsize=9)
    axes.set_xlabel("rate, as a multiple of a native driver's on the head node")
    axes.legend(loc="lower right", frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
