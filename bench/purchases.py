"""Bench figures of a whole purchase: the desk beside a tutorial shop and a bare bot, by turns in one run.

Each bot runs in a process of its own, at a sandbox in another process, over real HTTP; the buyers are in the bench's
own process (purchase_loop.py). All bots stay up, and each turn has each bot sell the same number of plans. Measured are
the processor time of the bot's process (user and kernel, all threads: of SQLite's work too, but not of PostgreSQL's
server), and the purchases a second, which a busy machine makes worth little. A ratio compares two bots of one turn, so
that whatever slows the machine slows both; the median and the range of all turns are shown.

The desk runs as in production, but for MESSAGES_PER_SECOND=1000, because 25 messages a second would be the measured
figure.
"""

import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.desks import DESK, PACE_UNLIMITED, desk_program, fresh_urls
from bench.engines import ENGINES
from bench.measurements import Figure, spread
from bench.programs import ROOT, Program, RunningBot, running_bot
from bench.purchase_loop import Buyers

WARM_UP: Final = 50
"""Purchases before the first turn: what is imported, compiled or prepared once does not count."""
TUTORIAL: Final = "tutorial shop"
BARE: Final = "bare bot"
CPU_OF_TUTORIAL_MAX: Final = 1.3
CPU_OF_BARE_MAX: Final = {"sqlite": 2.8, "postgresql": 2.2}
PACE_OF_TUTORIAL_MIN: Final = 0.7


@dataclass(frozen=True, slots=True)
class Turn:
    """One bot's part of a turn: the processor time of a purchase, and the purchases a second."""

    cpu_ms: float
    per_second: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """All turns on one engine, by the name of the bot."""

    engine: str
    turns: dict[str, list[Turn]]

    def cpu_ms(self, name: str) -> float:
        """Return the median processor time of a bot's purchase."""
        return statistics.median(turn.cpu_ms for turn in self.turns[name])

    def per_second(self, name: str) -> float:
        """Return the median of a bot's purchases a second."""
        return statistics.median(turn.per_second for turn in self.turns[name])

    def cpu_ratios(self, other: str) -> list[float]:
        """Return the desk's processor time against another bot's, turn by turn."""
        return [ours.cpu_ms / theirs.cpu_ms for ours, theirs in zip(self.turns[DESK], self.turns[other], strict=True)]

    def pace_ratios(self, other: str) -> list[float]:
        """Return the desk's purchases a second against another bot's, turn by turn."""
        return [
            ours.per_second / theirs.per_second
            for ours, theirs in zip(self.turns[DESK], self.turns[other], strict=True)
        ]


async def compare(
    engines: Sequence[str] = ENGINES,
    *,
    turns: int,
    purchases: int,
    against: Path | None = None,
    desks_only: bool = False,
) -> list[Comparison]:
    """Compare the desk with the tutorial shop and the bare bot, so many turns of so many purchases, on each engine.

    `against` is the absolute path of another checkout, whose desk takes part in each turn. `desks_only` leaves the two
    others out.
    """
    comparisons = []
    for engine in engines:
        async with AsyncExitStack() as stack:
            programs = await stack.enter_async_context(_programs(engine, against, desks_only=desks_only))
            bots = [await stack.enter_async_context(running_bot(each)) for each in programs]
            comparisons.append(await _take_turns(engine, bots, turns, purchases))
    return comparisons


@asynccontextmanager
async def _programs(engine: str, against: Path | None, *, desks_only: bool) -> AsyncIterator[list[Program]]:
    checkouts = [ROOT] if against is None else [ROOT, against]
    async with AsyncExitStack() as stack:
        *urls, shop_url = await stack.enter_async_context(fresh_urls(engine, len(checkouts) + 1))
        programs = [
            await stack.enter_async_context(desk_program(url, PACE_UNLIMITED, checkout=checkout))
            for url, checkout in zip(urls, checkouts, strict=True)
        ]
        if not desks_only:
            programs.append(Program(TUTORIAL, ["-m", "bench.tutorial_shop"], {"DATABASE_URL": shop_url}))
            programs.append(Program(BARE, ["-m", "bench.bare_bot"]))
        yield programs


async def _take_turns(engine: str, bots: Sequence[RunningBot], turns: int, purchases: int) -> Comparison:
    buyers = {bot.name: Buyers(bot.client) for bot in bots}
    comparison = Comparison(engine, {bot.name: [] for bot in bots})
    for bot in bots:
        await _take_turn(bot, buyers[bot.name], WARM_UP)
    for _ in range(turns):
        for bot in bots:
            comparison.turns[bot.name].append(await _take_turn(bot, buyers[bot.name], purchases))
    return comparison


async def _take_turn(bot: RunningBot, buyers: Buyers, purchases: int) -> Turn:
    """Have a bot sell to so many buyers. Raises RuntimeError with its last words when it is silent."""
    began = bot.cpu_seconds()
    try:
        seconds = await buyers.purchase(purchases)
    except TimeoutError:
        raise RuntimeError(f"{bot.name} is silent: {bot.last_words()}") from None
    cpu_ms = (bot.cpu_seconds() - began) * 1000 / purchases
    return Turn(cpu_ms, purchases / seconds)


def print_comparisons(console: Console, comparisons: Sequence[Comparison]) -> None:
    """Print a table of all bots on each engine, with the desk's ratio to each."""
    table = Table("engine", "bot", "CPU a purchase", "purchases a second", "the desk's CPU against it", "its pace")
    for each in comparisons:
        for name in each.turns:
            ratios = ["", ""] if name == DESK else [spread(each.cpu_ratios(name)), spread(each.pace_ratios(name))]
            table.add_row(each.engine, name, f"{each.cpu_ms(name):.2f} ms", f"{each.per_second(name):.1f}", *ratios)
    console.print(table)


def figures_of(comparison: Comparison) -> list[Figure]:
    """Return the ratios of a comparison as bench figures, with their spread."""
    engine = comparison.engine
    shop, bare, pace = (
        comparison.cpu_ratios(TUTORIAL),
        comparison.cpu_ratios(BARE),
        comparison.pace_ratios(TUTORIAL),
    )
    what = "processor time of a purchase against the"
    return [
        Figure(f"{what} {TUTORIAL}", engine, statistics.median(shop), "x", CPU_OF_TUTORIAL_MAX, spread(shop)),
        Figure(f"{what} {BARE}", engine, statistics.median(bare), "x", CPU_OF_BARE_MAX[engine], spread(bare)),
        Figure(
            f"purchases a second against the {TUTORIAL}",
            engine,
            statistics.median(pace),
            "x",
            note=spread(pace),
            least=PACE_OF_TUTORIAL_MIN,
        ),
    ]
