"""Everything that watches one desk, wired."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from loguru import logger

from bot.monitoring.call_meter import CallMeter
from bot.monitoring.gauges import DeskGauges
from bot.monitoring.health import Health
from bot.monitoring.http import monitoring_server
from bot.monitoring.systemd import Notifier
from bot.monitoring.watch import watch
from db.clock import Clock
from db.engine import Database
from db.lock import DeskLock
from payments.loop import DueLoop
from payments.recorder import Recorder


class Monitor:
    """The desk's health, and who is told of it. `meter` goes around the calls to Telegram."""

    def __init__(self, clock: Clock, lock: DeskLock) -> None:
        self._clock = clock
        self.meter = CallMeter()
        self.health = Health(clock)
        self.health.is_standing_by = lambda: lock.is_standing_by
        self.health.watch("telegram", lambda: self.meter.trouble)
        self._pulses = [self.meter.pulse]

    def watch_desk(self, worker: DueLoop, outbox: DueLoop, recorder: Recorder) -> None:
        """Say that the start is over, and watch the parts that run from now on."""
        self.health.watch("worker", lambda: worker.trouble)
        self.health.watch("outbox", lambda: outbox.trouble)
        self.health.watch("payments", lambda: recorder.trouble)
        self._pulses.append(worker.pulse)
        self.health.begin()

    @asynccontextmanager
    async def running(self, port: int, database: Database) -> AsyncIterator[None]:
        """Watch beside the block, and answer on `port` unless it is 0. Raises SettingsError when the port is taken."""
        notifier = Notifier()
        async with AsyncExitStack() as stack:
            if port:
                gauges = DeskGauges(database, self.meter, self.health, self._clock)
                await stack.enter_async_context(monitoring_server(port, self.health, gauges))
            watching = asyncio.create_task(watch(self.health, self._pulses, notifier))
            watching.add_done_callback(_log_bug)
            try:
                yield
            finally:
                notifier.tell("STOPPING=1")
                watching.cancel()
                await asyncio.wait({watching})


def _log_bug(watching: asyncio.Task[None]) -> None:
    if not watching.cancelled():
        logger.opt(exception=watching.exception()).error("nobody watches the desk any more")
