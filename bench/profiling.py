"""A profile of the desk's process during a loop of purchases, for the hunt for processor time."""

import pstats
import signal
from pathlib import Path
from typing import Final

from bench.desks import PACE_UNLIMITED, desk_program, fresh_urls
from bench.programs import running_bot
from bench.purchase_loop import Buyers
from bench.purchases import WARM_UP

LINES: Final = 40


async def profile_desk(engine: str, purchases: int, path: Path) -> None:
    """Profile the desk during so many purchases: write a file for pstats to `path`, and print its top lines.

    `path` is absolute. cProfile makes calls of Python functions look dearer than they are, and sees no thread but the
    loop's.
    """
    settings = {**PACE_UNLIMITED, "BENCH_PROFILE": str(path)}
    async with fresh_urls(engine, 1) as (url,), desk_program(url, settings) as program, running_bot(program) as bot:
        buyers = Buyers(bot.client)
        await buyers.purchase(WARM_UP)
        bot.process.send_signal(signal.SIGUSR1)
        await buyers.purchase(purchases)
    pstats.Stats(str(path)).sort_stats("tottime").print_stats(LINES)
