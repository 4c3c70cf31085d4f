"""Measures an operator's wait for a command that needs no Telegram, from the shell and back."""

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.engines import BOT_ID
from bench.measurements import Figure

START_SECONDS: Final = 1.0
RUNS: Final = 5
ROOT: Final = Path(__file__).parents[1]


async def measure() -> list[Figure]:
    """Measure the wait for `pending` on an empty SQLite desk.

    It is the best of five, because the machine has other things to do as well.
    """
    # Without the environment's settings of another desk; the database is below the temporary folder.
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TELEGRAM_BOT_TOKEN": f"{BOT_ID}:{'bench' * 7}"}
    taken = []
    with tempfile.TemporaryDirectory(prefix="starledger-bench-") as directory:
        for _ in range(RUNS):
            began = time.perf_counter()
            command = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bot", "pending"),
                cwd=directory,
                env=environment,
                stdout=asyncio.subprocess.DEVNULL,
            )
            if await command.wait():
                raise RuntimeError("`pending` has failed")
            taken.append(time.perf_counter() - began)
    return [Figure("a command that needs no Telegram", "sqlite", min(taken), "s", START_SECONDS, "start to end")]
