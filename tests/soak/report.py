"""What a soak prints at its end."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from tests.soak.storm import Outcome


def show(outcome: Outcome, console: Console) -> None:
    """The figures as tables, then what is wrong."""
    figures = Table("what", "count", box=box.SIMPLE_HEAD, title=f"seed {outcome.plan.seed}, {outcome.seconds:.0f} s")
    figures.columns[1].justify = "right"
    for kind, count in sorted(outcome.faults.items()):
        figures.add_row(f"  {kind}", f"{count:,}")
    figures.add_row("faults", f"{outcome.faults.total():,}", end_section=True)
    figures.add_row("calls", f"{outcome.done['calls']:,}")
    figures.add_row("large transfers", f"{outcome.done['transfers']:,}")
    figures.add_row("lines printed", f"{outcome.done['lines']:,}")
    figures.add_row("sessions resumed", f"{outcome.counters.get('resumed', 0):,}")
    figures.add_row(f"longest step: {outcome.slowest[1]}", f"{outcome.slowest[0]:.1f} s", end_section=True)
    figures.add_row("lost", f"{outcome.lost:,}")
    figures.add_row("doubled", f"{outcome.doubled:,}")
    figures.add_row("hangs", f"{len(outcome.hangs):,}")
    console.print(figures)

    memory = Table("memory of", "at first", "second quarter", "last quarter", "ratio", box=box.SIMPLE_HEAD)
    for column in memory.columns[1:]:
        column.justify = "right"
    for entry in sorted(outcome.memories, key=lambda entry: (not entry.is_bytes, entry.name)):
        sizes = (entry.samples[0], entry.quarter(1), entry.quarter(3))
        texts = (f"{size / (1 << 20):.1f} MiB" if entry.is_bytes else f"{size:,.0f}" for size in sizes)
        memory.add_row(entry.name, *texts, f"{entry.growth:.3f}")
    console.print(memory)

    for text in outcome.wrong:
        console.print(f"WRONG: {text}", markup=False, highlight=False)
    if not outcome.wrong:
        console.print("Each call ran once, and nothing hung.")
