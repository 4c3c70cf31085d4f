"""A bot as a child process of the sandbox, which starts it, kills it like a power cut, or stops it."""

import asyncio
import contextlib
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LINES_KEPT = 500
LINE_BYTES_MAX = 1 << 20
STOP_SECONDS = 12.0


class BotProcess:
    """The child process of a bot: one command, run at most once at a time.

    `lines` are its last 500 lines of output; `status` is the exit status of the last run (negative: the signal), None
    before the first has ended, and `ended_by_itself` tells that nobody here asked for the end. The process
    calls each function in `watchers` after each change.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        *,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)
        self.status: int | None = None
        self.ended_by_itself = False
        self.watchers: set[Callable[[], None]] = set()
        self._command = command
        self._environment = environment
        self._directory = directory
        self._stop_seconds = stop_seconds
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._asked_to_end = False

    @property
    def pid(self) -> int | None:
        """Return the bot's process id, None while it does not run."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Start the bot's process, unless it runs."""
        if self._process is not None:
            return
        self._asked_to_end = False
        # A session of its own keeps the terminal's Ctrl-C away from it: stop() ends it in order.
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdout=PIPE,
            stderr=STDOUT,
            env=self._environment,
            cwd=self._directory,
            limit=LINE_BYTES_MAX,
            start_new_session=True,
        )
        self._reading = asyncio.create_task(self._read(self._process))
        self._changed()

    def kill(self) -> None:
        """End the bot's process at once by SIGKILL, as a power cut would."""
        self._asked_to_end = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def stop(self) -> None:
        """End the bot's process by SIGTERM, and wait; after `stop_seconds` kill it."""
        if self._process is None or self._reading is None:
            return
        self._asked_to_end = True
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(asyncio.shield(self._reading), self._stop_seconds)
        except TimeoutError:
            self.kill()
            await self._reading

    async def ended(self) -> None:
        """Wait for the end of the bot's present run."""
        if self._reading is not None:
            await asyncio.shield(self._reading)

    async def _read(self, process: Process) -> None:
        if process.stdout is None:
            raise ValueError("the process was started without a pipe for its output")
        while line := await process.stdout.readline():
            self.lines.append(line.decode(errors="replace").rstrip())
            self._changed()
        self.status = await process.wait()
        self.ended_by_itself = not self._asked_to_end
        self._process = None
        self._changed()

    def _changed(self) -> None:
        for watcher in tuple(self.watchers):
            watcher()
