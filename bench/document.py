"""docs/benchmarks.md: the figures of one run of the bench, with its machine, its date and its command."""

import platform
import sys
from collections.abc import Iterator, Sequence
from typing import Final

import psutil  # type: ignore[import-untyped]  # ships no types

from bench.desks import DESK
from bench.measurements import Figure, spread
from bench.picture import draw
from bench.programs import ROOT
from bench.purchases import Comparison
from db.clock import utc_now

DOCUMENT: Final = ROOT / "docs" / "benchmarks.md"
PICTURE: Final = ROOT / "docs" / "images" / "purchase.svg"

_PURCHASE: Final = """
## A whole purchase

The buyer sends /buy, presses a plan's button, pays the invoice, and reads the confirmation: two messages, an invoice, a
pre-checkout and a payment. A closed loop of 25 buyers makes purchases at the sandbox over HTTP. Three bots take turns
in one run, each in a process of its own: the desk with `MESSAGES_PER_SECOND=1000`, a shop as a tutorial writes it
([bench/tutorial_shop.py](../bench/tutorial_shop.py)), and a bot without a database
([bench/bare_bot.py](../bench/bare_bot.py)). Processor time is that of the bot's process alone: SQLite works in it,
PostgreSQL's server does not. A ratio compares two bots of one turn; the table shows the median and the range of all
turns.

![Processor time of a purchase](images/purchase.svg)
"""
_START: Final = """
## A start

The desk starts more slowly than a bare bot because it imports more: SQLAlchemy with its drivers, Stripe, the texts, the
metrics. It also locks and checks its database. Pre-checkouts do not wait for it any longer than the first poll: before
that poll the desk settles one batch of at most 50 due charges, and all others beside it.
"""
_AIMS: Final = """
## Wanted and measured

"at most" and "at least" are the wanted values; a figure without one is shown to be compared with the next run's.
"""


def write_document(comparisons: Sequence[Comparison], figures: Sequence[Figure]) -> None:
    """Write the document and its picture."""
    PICTURE.write_text(draw(comparisons))
    DOCUMENT.write_text("\n".join(_lines(comparisons, figures)))


def _lines(comparisons: Sequence[Comparison], figures: Sequence[Figure]) -> Iterator[str]:
    yield "# Benchmarks"
    yield ""
    command = " ".join(["python -m bench", *sys.argv[1:]])
    yield f"`{command}` wrote this page on {utc_now():%Y-%m-%d},"
    yield "and `make bench` writes it anew."
    yield f"The machine has {_machine()}, and a load of {psutil.getloadavg()[0]:.0f} at the end."
    yield "Sandbox, buyers and databases shared it with the bots. Both databases had production's settings"
    yield "(`synchronous=FULL`, `synchronous_commit=on`); PostgreSQL's files were in memory."
    yield "All else that a machine does makes times longer, and changes ratios of one turn the least."
    yield _PURCHASE
    yield from _purchases(comparisons)
    yield _AIMS
    yield from _table(figures)
    yield _START


def _machine() -> str:
    memory_gib = psutil.virtual_memory().total / 2**30
    python = platform.python_version()
    return (
        f"{psutil.cpu_count()} cores ({platform.machine()}), {memory_gib:.0f} GiB, {platform.system()}, Python {python}"
    )


def _purchases(comparisons: Sequence[Comparison]) -> Iterator[str]:
    yield "| engine | bot | processor time | purchases a second | the desk's processor time against it | its pace |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for each in comparisons:
        for name in each.turns:
            ratios = ["", ""] if name == DESK else [spread(each.cpu_ratios(name)), spread(each.pace_ratios(name))]
            cells = [each.engine, name, f"{each.cpu_ms(name):.1f} ms", f"{each.per_second(name):.1f}", *ratios]
            yield f"| {' | '.join(cells)} |"


def _table(figures: Sequence[Figure]) -> Iterator[str]:
    yield "| figure | engine | measured | wanted | | note |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for each in figures:
        cells = [each.what, each.engine, each.shown, each.wanted, each.mark, each.note]
        yield f"| {' | '.join(cells)} |"
