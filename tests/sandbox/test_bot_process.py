"""A bot's process that the sandbox starts, kills and stops."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types
import pytest

from sandbox.bot_process import BotProcess

Make = Callable[[str], BotProcess]

WAITS = "print('up', flush=True); import time; time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}"


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[BotProcess] = []

    def process(program: str) -> BotProcess:
        made.append(BotProcess([sys.executable, "-c", program], os.environ, tmp_path, stop_seconds=0.2))
        return made[-1]

    yield process
    for each in made:
        await each.stop()


async def until_up(process: BotProcess) -> None:
    up = asyncio.Event()
    process.watchers.add(up.set)
    while "up" not in process.lines:
        up.clear()
        await up.wait()


async def test_bot_process_can_be_killed_and_started_again(make: Make) -> None:
    process = make(WAITS)
    await process.start()
    first = process.pid
    await process.start()
    assert process.pid == first
    process.kill()
    await process.ended()
    assert (process.pid, process.status, process.ended_by_itself) == (None, -9, False)
    await process.start()
    assert process.pid not in (None, first)


async def test_an_end_by_itself_is_told_with_its_words(make: Make) -> None:
    process = make("print('one'); print('two'); raise SystemExit(78)")
    ends: list[int | None] = []
    process.watchers.add(lambda: ends.append(process.status))
    await process.start()
    await process.ended()
    assert (process.status, process.ended_by_itself) == (78, True)
    assert list(process.lines) == ["one", "two"]
    assert ends[-1] == 78


@pytest.mark.parametrize(("program", "status"), [(WAITS, -15), (STUBBORN, -9)])
async def test_bot_process_is_killed_when_it_does_not_stop(make: Make, program: str, status: int) -> None:
    process = make(program)
    await process.start()
    pid = process.pid
    await until_up(process)
    await process.stop()
    assert (process.pid, process.status, process.ended_by_itself) == (None, status, False)
    assert not psutil.pid_exists(pid)
