"""`python -m bench [--rows N] [--history N]`: measure all bench figures, print the table, exit 1 at a missed floor."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer
from loguru import logger
from rich.console import Console

from bench import commands, ledger, money, reports
from bench.engines import ENGINES, fresh_database
from bench.measurements import Figure, print_figures

WIDTH: Final = 140


def main(
    rows: Annotated[int, typer.Option(help="Payments in the ledger that is rebuilt.")] = 100_000,
    history: Annotated[int, typer.Option(help="Rows that were read before, in the comparison.")] = 1_000_000,
) -> None:
    """Measure the desk on both engines, and print the figures."""
    logger.remove()
    logger.add(sys.stderr, level="ERROR")
    # Wide enough for one line for each figure, also without a terminal.
    console = Console(width=WIDTH)
    is_met = print_figures(console, asyncio.run(_measure(console, rows, history)))
    raise typer.Exit(0 if is_met else 1)


async def _measure(console: Console, rows: int, history: int) -> list[Figure]:
    figures: list[Figure] = []

    def note(measured: Sequence[Figure]) -> None:
        figures.extend(measured)
        for each in measured:
            console.print(f"{each.engine}: {each.what}: {each.shown}")

    note(await commands.measure())
    for engine in ENGINES:
        async with fresh_database(engine) as database:
            note(await money.measure(engine, database))
        async with fresh_database(engine) as database:
            for read_before in (1_000, history):
                note(await ledger.measure_comparison(engine, database, read_before))
            note(await ledger.measure_rebuild(engine, database, rows))
            note(await reports.measure(engine, database))
    return figures


if __name__ == "__main__":
    typer.run(main)
