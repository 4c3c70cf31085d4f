"""Programs that the bench measures: a bot in a process of its own, at a sandbox in another one."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import psutil  # type: ignore[import-untyped]  # ships no types

from sandbox.client import SandboxClient
from sandbox.settings import TOKEN
from tests.support.browser import running

ROOT: Final = Path(__file__).parents[1]
START_SECONDS: Final = 120.0
"""A start takes three seconds; a machine that others use as well may take many times that."""
STOP_SECONDS: Final = 30.0
WORDS_MAX: Final = 2_000


@dataclass(frozen=True, slots=True)
class Program:
    """A bot's program: its name in the tables, its command after `python`, and its environment."""

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunningBot:
    """A running bot: the client of its sandbox, its process, and the file of its output."""

    name: str
    client: SandboxClient
    process: psutil.Process
    log: Path

    def cpu_seconds(self) -> float:
        """Return the processor time of the bot until now, of all its threads, in user and kernel."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def last_words(self) -> str:
        """Return the end of the bot's output."""
        return self.log.read_text()[-WORDS_MAX:]

    def peak_mib(self) -> float:
        """Return the highest resident memory of the bot until now (proc(5), VmHWM)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        [kib] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        return int(kib) / 1024


@asynccontextmanager
async def open_sandbox(latency_ms: int = 0) -> AsyncIterator[SandboxClient]:
    """Run a sandbox in a process of its own; each call of a bot takes `latency_ms` longer there."""
    options = ["--port", "0", "--page-port", "-1", "--token", TOKEN, "--latency-ms", str(latency_ms)]
    with running("sandbox", options, until="Control API") as sandbox:
        async with SandboxClient(sandbox.address("Bot API")) as client:
            yield client


@asynccontextmanager
async def running_bot(program: Program) -> AsyncIterator[RunningBot]:
    """Run a bot beside the block, at a sandbox of its own; the block begins when the bot polls."""
    async with open_sandbox() as client, started(program, client) as bot:
        await client.wait_until_polling(timeout_seconds=START_SECONDS)
        yield bot


@asynccontextmanager
async def started(program: Program, client: SandboxClient) -> AsyncIterator[RunningBot]:
    """Start a bot at a sandbox, and stop it at the end of the block.

    Raises RuntimeError with the bot's last words when it fails.
    """
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "TELEGRAM_BOT_TOKEN": TOKEN,
        "TELEGRAM_API_URL": client.url,
    }
    with TemporaryDirectory(prefix="starledger-bench-") as directory:
        log = Path(directory) / "log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, *program.command),
                cwd=directory,
                env=environment | program.environment,
                stdout=output,
                stderr=output,
            )
        bot = RunningBot(program.name, client, psutil.Process(process.pid), log)
        try:
            yield bot
        finally:
            status = await _stop(process)
            if status:
                raise RuntimeError(f"{program.name} ended with status {status}: {bot.last_words()}")


async def _stop(process: asyncio.subprocess.Process) -> int:
    """Stop a bot by SIGTERM, and by force when it takes too long; return its exit status."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()
