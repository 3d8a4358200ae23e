"""What was measured, as a table, as a chart, and held against what is expected."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

EXPECTED = Path(__file__).with_name("expected.json")

NOISE = 0.6
"""A ratio may be so much of what is expected before it is a regression: machines are noisy."""

Rates = dict[str, dict[str, list[float]]]
"""By row and contender: all that was measured, per second."""


def median(rates: Rates, row: str, name: str) -> float:
    """0 where the contender cannot do it, or was not asked."""
    measured = rates.get(row, {}).get(name)
    return statistics.median(measured) if measured else 0.0


def ratios(results: dict[str, Any]) -> dict[str, float]:
    """How many times as fast as the native driver, and as Ray Client, raymq is in each row."""
    found = {}
    for row in results["rates"]:
        ours = median(results["rates"], row, "raymq")
        for name in ("native", "Ray Client"):
            theirs = median(results["rates"], row, name)
            if theirs:
                found[f"{row} / {name}"] = ours / theirs
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
    for name in ("native", "Ray Client", "raymq", "spread", "/ native", "/ Client"):
        table.add_column(name, justify="right", no_wrap=True)
    for row, measured in rates.items():
        ours = measured["raymq"]
        medians = [median(rates, row, name) for name in ("native", "Ray Client", "raymq")]
        spread = (max(ours) - min(ours)) / medians[2] if medians[2] else 0.0
        cells = [_figure(rate) if name in measured else "" for rate, name in zip(medians, _NAMES, strict=True)]
        against = [
            f"{medians[2] / theirs:.2f}" if theirs else "cannot" if name in measured else ""
            for theirs, name in zip(medians[:2], _NAMES, strict=False)
        ]
        table.add_row(row, *cells, f"{spread:.0%}", *against)
    console.print(table)
    other = Table(title="other figures")
    other.add_column("what", no_wrap=True)
    other.add_column("figure", justify="right", no_wrap=True)
    for what, value in results["figures"].items():
        other.add_row(what, _figure(value))
    console.print(other)


def markdown(results: dict[str, Any]) -> str:
    """The same for the documents."""
    machine, rates = results["machine"], results["rates"]
    lines = [
        f"Python {machine['python']}, Ray {machine['ray']}, {machine['cpus']} cores, loopback; medians, per second.",
        "",
        "| | native | Ray Client | raymq | raymq / native | raymq / Ray Client |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    found = ratios(results)
    for row, measured in rates.items():
        cells = [_figure(median(rates, row, name)) if measured.get(name) else "" for name in _NAMES]
        cells = ["cannot" if cell == "0" else cell for cell in cells]
        cells += [_figure(found[key]) if (key := f"{row} / {name}") in found else "" for name in _NAMES[:2]]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    lines += ["", "| | |", "|---|--:|"]
    lines += [f"| {what} | {_figure(value)} |" for what, value in results["figures"].items()]
    return "\n".join(lines) + "\n"


_NAMES = ("native", "Ray Client", "raymq")


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
    figure, axes = plt.subplots(figsize=(9, 0.42 * len(rows) + 1.2))
    for offset, name, color in ((0.2, "raymq", "#1f6feb"), (-0.2, "Ray Client", "#b0b7c0")):
        parts = [median(rates, row, name) / median(rates, row, "native") for row in rows]
        axes.barh([place + offset for place in range(len(rows))], parts, 0.38, color=color, label=name)
        for place, part in enumerate(parts):
            text = f" {part:.2g}" if part else " cannot"
            axes.text(max(part, LEFT), place + offset, text, va="center", fontsize=8)
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
