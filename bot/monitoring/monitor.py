"""The monitor of one desk: wires its health, call meter, HTTP server and watchdog."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Protocol

from loguru import logger

from bot.monitoring.call_meter import CallMeter
from bot.monitoring.gauges import DeskGauges
from bot.monitoring.health import LOCK, Health
from bot.monitoring.http import monitoring_server
from bot.monitoring.systemd import Notifier
from bot.monitoring.watchdog import watch
from db.clock import Clock
from db.engine import Database
from db.lock import DeskLock
from db.timings import PRODUCTION, Timings
from payments.loop import Pulse


class Part(Protocol):
    """A part of the desk that knows its trouble."""

    @property
    def trouble(self) -> str | None:
        """The obstacle to the part's work, in words without secrets; None: there is none."""


class Monitor:
    """The desk's health, with the HTTP server and the watchdog that show it. `meter` counts the calls to Telegram."""

    def __init__(self, clock: Clock, lock: DeskLock, timings: Timings = PRODUCTION) -> None:
        self._timings = timings
        self._clock = clock
        self.meter = CallMeter()
        self.health = Health(clock)
        self.health.is_standing_by = lambda: lock.is_standing_by
        self.health.about_database = partial(_about, lock)
        self._watch(LOCK, lock)
        self._watch("telegram", self.meter)
        self._pulses = {"poll": self.meter.pulse}

    def watch_desk(self, parts: Mapping[str, Part], pulses: Mapping[str, Pulse]) -> None:
        """Monitor the running parts and the pulses of the loops from now on.

        Health begins to count with it, because the start is over.
        """
        for name, part in parts.items():
            self._watch(name, part)
        self._pulses |= pulses
        self.health.begin()

    def _watch(self, name: str, part: Part) -> None:
        self.health.watch(name, lambda: part.trouble)

    @asynccontextmanager
    async def running(self, port: int, database: Database) -> AsyncIterator[None]:
        """Monitor the desk beside the block; serve `port` unless it is 0. Raises SettingsError for a taken port."""
        notifier = Notifier()
        async with AsyncExitStack() as stack:
            if port:
                gauges = DeskGauges(database, self.meter, self.health, self._clock, self._timings.gauges_read_seconds)
                await stack.enter_async_context(monitoring_server(port, self.health, gauges))
            watching = asyncio.create_task(
                watch(self.health, self._pulses, notifier, self._timings.health_look_seconds)
            )
            watching.add_done_callback(_log_bug)
            try:
                yield
            finally:
                notifier.tell("STOPPING=1")
                watching.cancel()
                await asyncio.wait({watching})


def _about(lock: DeskLock) -> dict[str, str]:
    if lock.server is not None:
        return {"server": str(lock.server), "lock": "this desk"}
    return {"lock": str(lock.holder)} if lock.holder is not None else {}


def _log_bug(watching: asyncio.Task[None]) -> None:
    if not watching.cancelled():
        logger.opt(exception=watching.exception()).error("the watch over the desk has ended by a bug")
