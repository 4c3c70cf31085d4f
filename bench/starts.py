"""Bench figures of a start: the desk beside a bare bot, by turns, from the command to the first poll."""

import statistics
from time import perf_counter
from typing import Final

from bench.desks import DESK, desk_program, fresh_urls
from bench.measurements import Figure, spread
from bench.programs import START_SECONDS, Program, open_sandbox, started
from bench.purchases import BARE

TURNS: Final = 5


async def measure(engine: str) -> list[Figure]:
    """Measure the bench figures of a start of the desk, whose database is there, and of a bare bot."""
    cpu: dict[str, list[float]] = {DESK: [], BARE: []}
    wall: dict[str, list[float]] = {DESK: [], BARE: []}
    bare = Program(BARE, ["-m", "bench.bare_bot"])
    async with fresh_urls(engine, 1) as (url,), desk_program(url) as desk:
        await _start(desk)
        for _ in range(TURNS):
            for program in (desk, bare):
                seconds, cpu_seconds = await _start(program)
                wall[program.name].append(seconds)
                cpu[program.name].append(cpu_seconds)
    ratios = [ours / theirs for ours, theirs in zip(cpu[DESK], cpu[BARE], strict=True)]
    return [
        Figure("a start, to the first poll", engine, statistics.median(wall[DESK]), "s"),
        Figure("its processor time", engine, statistics.median(cpu[DESK]), "s"),
        Figure("that of a bare bot's start", engine, statistics.median(cpu[BARE]), "s"),
        Figure("the desk's against the bare bot's", engine, statistics.median(ratios), "x", note=spread(ratios)),
    ]


async def _start(program: Program) -> tuple[float, float]:
    """Start a bot; return the seconds to its first poll, and its processor seconds until then."""
    async with open_sandbox() as client:
        began = perf_counter()
        async with started(program, client) as bot:
            await client.wait_until_polling(timeout_seconds=START_SECONDS)
            return perf_counter() - began, bot.cpu_seconds()
