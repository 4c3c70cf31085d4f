"""`python -m bench [--rows N] [--history N]`: measure all bench figures, and exit 1 at a missed bound.

`python -m bench purchases [--quick]` compares whole purchases alone, in less than a minute.
"""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from loguru import logger
from rich.console import Console

from bench import backlog, commands, growth, ledger, messages, money, purchases, reports, starts
from bench.document import write_document
from bench.engines import ENGINES, fresh_database
from bench.measurements import Figure, print_figures
from bench.profiling import profile_desk

WIDTH: Final = 140
TURNS: Final = 5
PURCHASES: Final = 300
QUICK_TURNS: Final = 3
QUICK_PURCHASES: Final = 100


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of one run of the bench, as its options set them."""

    rows: int
    history: int
    waiting: int
    turns: int
    purchases: int


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    rows: Annotated[int, typer.Option(help="Payments in the ledger that is rebuilt; 0: no rebuild.")] = 100_000,
    history: Annotated[int, typer.Option(help="Events on record, and rows read before the comparison.")] = 1_000_000,
    waiting: Annotated[int, typer.Option(help="Payments that wait while others are made.")] = backlog.WAITING,
    turns: Annotated[int, typer.Option(help="Turns of the comparison of purchases.")] = TURNS,
    count: Annotated[int, typer.Option(help="Purchases of a bot in a turn.")] = PURCHASES,
) -> None:
    """Measure the desk on both engines, and print the figures."""
    logger.remove()
    logger.add(sys.stderr, level="ERROR")
    if context.invoked_subcommand is not None:
        return
    # Wide enough for one line for each figure, also without a terminal.
    console = Console(width=WIDTH)
    sizes = Sizes(rows, history, waiting, turns, count)
    is_met = print_figures(console, asyncio.run(_measure(console, sizes)))
    raise typer.Exit(0 if is_met else 1)


@app.command("purchases")
def compare_purchases(
    *,
    engine: Annotated[list[str] | None, typer.Option(help="An engine; without one, both.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Three turns of 100 purchases.")] = False,
    turns: Annotated[int, typer.Option(help="Turns of each bot.")] = TURNS,
    count: Annotated[int, typer.Option(help="Purchases of a bot in a turn.")] = PURCHASES,
    against: Annotated[
        Path | None, typer.Option(help="Another checkout, whose desk takes turns too.", resolve_path=True)
    ] = None,
    desks_only: Annotated[bool, typer.Option("--desks-only", help="Leave the shop and the bare bot out.")] = False,
    profile: Annotated[
        Path | None, typer.Option(help="Profile the desk alone, into this file.", resolve_path=True)
    ] = None,
) -> None:
    """Compare the desk with a tutorial shop and a bare bot, or profile it."""
    engines = engine or list(ENGINES)
    if quick:
        turns, count = QUICK_TURNS, QUICK_PURCHASES
    if profile is not None:
        asyncio.run(profile_desk(engines[0], count, profile))
        return
    comparisons = asyncio.run(
        purchases.compare(engines, turns=turns, purchases=count, against=against, desks_only=desks_only)
    )
    purchases.print_comparisons(Console(width=WIDTH), comparisons)


async def _measure(console: Console, sizes: Sizes) -> list[Figure]:
    figures: list[Figure] = []

    def note(measured: Sequence[Figure]) -> None:
        figures.extend(measured)
        for each in measured:
            console.print(f"{each.engine}: {each.what}: {each.shown}")

    comparisons = await purchases.compare(turns=sizes.turns, purchases=sizes.purchases)
    try:
        for comparison in comparisons:
            note(purchases.figures_of(comparison))
        for engine in ENGINES:
            note(await backlog.measure(engine, sizes.waiting))
            note(await messages.measure(engine))
            note(await growth.measure(engine, sizes.history))
            async with fresh_database(engine) as database:
                note(await money.measure(engine, database))
            note(await starts.measure(engine))
        note(await commands.measure())
        if sizes.rows:
            for engine in ENGINES:
                note(await _measure_ledger(engine, sizes))
    finally:
        # A run takes long, and one failure must not lose its other figures.
        write_document(comparisons, figures)
    return figures


async def _measure_ledger(engine: str, sizes: Sizes) -> list[Figure]:
    async with fresh_database(engine) as database:
        return [
            *await ledger.measure_comparison(engine, database, 1_000),
            *await ledger.measure_comparison(engine, database, sizes.history),
            *await ledger.measure_rebuild(engine, database, sizes.rows),
            *await reports.measure(engine, database),
        ]


if __name__ == "__main__":
    app()
