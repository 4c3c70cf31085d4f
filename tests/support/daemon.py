"""`python -m bot` in a process of its own, forked from one that has imported it: only that takes seconds."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bot.__main__ import app
from bot.settings import Settings
from db.timings import PRODUCTION, Timings
from tests.conftest import BOT_ID
from tests.faults.victim import STOP_SECONDS
from tests.support.forkserver import FORKSERVER
from tests.support.waiting import until

TOKEN: Final = f"{BOT_ID}:daemon-tests-daemon-tests-daemon-00"
CATALOG: Final = Path(__file__).parents[2] / "catalog.example.toml"


@dataclass(frozen=True)
class Daemon:
    """One life of the daemon, and what it says on stderr."""

    process: Any
    stderr: Path

    def said(self) -> str:
        """Return all that it has said until now."""
        return self.stderr.read_text() if self.stderr.exists() else ""

    async def until_said(self, words: str) -> None:
        """Wait until it has said this."""

        async def is_said() -> bool:
            return words in self.said()

        await until(is_said)

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal."""
        os.kill(self.process.pid, number)

    async def ended(self) -> int | None:
        """Wait for the end, ten seconds at most, and return the exit status; None: it lives on."""
        await asyncio.to_thread(self.process.join, STOP_SECONDS)
        status: int | None = self.process.exitcode
        return status

    async def stop(self) -> int | None:
        """Send SIGTERM and wait for the end."""
        self.signal()
        return await self.ended()


@contextmanager
def running_daemon(
    directory: Path, api_url: str, database_url: str, *, timings: Timings = PRODUCTION, **more: str
) -> Iterator[Daemon]:
    """Run the daemon in `directory` beside the block; `more` are settings."""
    environment = {
        "TELEGRAM_BOT_TOKEN": TOKEN,
        "TELEGRAM_API_URL": api_url,
        "DATABASE_URL": database_url,
        "CATALOG_FILE": str(CATALOG),
    }
    stderr = directory / f"stderr-{len(list(directory.glob('stderr-*')))}"
    process = FORKSERVER.Process(target=_run, args=(directory, stderr, environment | more, timings))
    process.start()
    try:
        yield Daemon(process, stderr)
    finally:
        if process.is_alive():
            process.kill()
        process.join()


def _run(directory: Path, stderr: Path, environment: dict[str, str], timings: Timings) -> None:
    os.chdir(directory)
    os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT), 2)
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)
    os.environ.update(environment)
    app(args=[], prog_name="python -m bot", obj=timings)
