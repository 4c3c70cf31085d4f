"""Figures of the benchmarks with their floors, and the table of all."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure; `floor` is the most that it may be, or `least` the least (both None: the table only shows it)."""

    what: str
    engine: str
    value: float
    unit: str
    floor: float | None = None
    note: str = ""
    least: float | None = None

    @property
    def wanted(self) -> str:
        """The bound of the figure in words; empty without one."""
        if self.least is not None:
            return f"at least {self.least:g} {self.unit}".rstrip()
        return "" if self.floor is None else f"at most {self.floor:g} {self.unit}".rstrip()

    @property
    def mark(self) -> str:
        """The verdict on the figure; empty without a bound."""
        return "" if not self.wanted else "ok" if self.is_met else "MISSED"

    @property
    def shown(self) -> str:
        """The figure with its unit."""
        return f"{self.value:,.4g} {self.unit}".rstrip()

    @property
    def is_met(self) -> bool:
        """Tell whether the figure keeps its bound."""
        if self.least is not None:
            return self.value >= self.least
        return self.floor is None or self.value <= self.floor


def print_figures(console: Console, figures: Sequence[Figure]) -> bool:
    """Print the table of figures; False: one misses its bound."""
    table = Table("what", "engine", "figure", "wanted", "", "note")
    for each in figures:
        table.add_row(each.what, each.engine, each.shown, each.wanted, each.mark, each.note)
    console.print(table)
    return all(each.is_met for each in figures)


def spread(values: Sequence[float]) -> str:
    """Write a median with the range around it."""
    return f"{statistics.median(values):.2f} x ({min(values):.2f} to {max(values):.2f})"
