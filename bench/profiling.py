"""A profile of the desk's process during a loop of purchases, for the hunt for processor time."""

import pstats
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from bench.engines import fresh_cluster
from bench.programs import running_bot
from bench.purchase_loop import Buyers
from bench.purchases import WARM_UP, desk_program

LINES: Final = 40


async def profile_desk(engine: str, purchases: int, path: Path) -> None:
    """Profile the desk during so many purchases: write a file for pstats to `path`, and print its top lines.

    `path` is absolute. cProfile makes calls of Python functions look dearer than they are, and sees no thread but the
    loop's.
    """
    async with AsyncExitStack() as stack:
        cluster = stack.enter_context(fresh_cluster()) if engine == "postgresql" else None
        program = await stack.enter_async_context(desk_program(engine, cluster, BENCH_PROFILE=str(path)))
        bot = await stack.enter_async_context(running_bot(program))
        buyers = Buyers(bot.client)
        await buyers.purchase(WARM_UP)
        bot.process.send_signal(signal.SIGUSR1)
        await buyers.purchase(purchases)
    pstats.Stats(str(path)).sort_stats("tottime").print_stats(LINES)
