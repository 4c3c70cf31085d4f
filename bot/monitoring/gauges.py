"""The gauges of each scrape: the backlog in the database, the drift, the pools, the age of the last poll."""

import asyncio
import platform
import time
from collections.abc import Iterator
from datetime import datetime

from loguru import logger
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from bot import __version__
from bot.monitoring.call_meter import CallMeter
from bot.monitoring.health import WELL, Health
from db.clock import Clock
from db.engine import Database
from db.errors import is_away
from db.timings import PRODUCTION
from payments.ledger.drift import Drift, read_drift
from payments.ledger.nanostars import NANOSTARS
from payments.waiting import Backlog, Queue, read_backlog

_Read = tuple[Backlog, Drift | None]


class DeskGauges(Collector):
    """The gauges of one desk: `read` measures, `collect` gives them to prometheus-client."""

    def __init__(
        self,
        database: Database,
        meter: CallMeter,
        health: Health,
        clock: Clock,
        read_seconds: float = PRODUCTION.gauges_read_seconds,
    ) -> None:
        self._database = database
        self._meter = meter
        self._health = health
        self._clock = clock
        self._read_seconds = read_seconds
        self._reading: asyncio.Task[_Read] | None = None
        self._read_last: _Read | None = None

    async def read(self) -> None:
        """Read the backlog and the drift within `read_seconds`; at most one reading is under way."""
        reading = self._reading = self._reading or asyncio.create_task(self._read())
        # asyncio.wait_for would cancel the reading and wait for the database to hear of it.
        done, _ = await asyncio.wait({reading}, timeout=self._read_seconds)
        if not done:
            self._read_last = None
            return
        if self._reading is reading:
            self._reading = None
        error = reading.exception()
        self._read_last = reading.result() if error is None else None
        if error is not None and not is_away(error):
            logger.opt(exception=error).error("the backlog cannot be measured")

    async def _read(self) -> _Read:
        async with self._database.reading() as session:
            return await read_backlog(session), await read_drift(session)

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges: the database's as the last reading left them, all others as they are now."""
        yield _gauge("starledger_up", "1 while nothing is wrong with the desk, or it stands by.", self._is_well())
        build = GaugeMetricFamily("starledger_build_info", "Always 1.", labels=["version", "python"])
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
        if self._meter.polled_at is not None:
            lag_seconds = time.monotonic() - self._meter.polled_at
            yield _gauge("starledger_poll_lag_seconds", "Time since Telegram last answered a poll.", lag_seconds)
        yield from self._pool()
        yield _gauge("starledger_database_up", "1 if the database answered in time.", self._read_last is not None)
        if self._read_last is not None:
            backlog, drift = self._read_last
            yield from _of_backlog(backlog, self._clock())
            yield from _of_ledger(drift, self._clock())

    def _is_well(self) -> bool:
        return self._health.look() in WELL

    def _pool(self) -> Iterator[Metric]:
        in_use = GaugeMetricFamily(
            "starledger_database_connections_in_use", "Connections that somebody works on.", labels=["pool"]
        )
        most = GaugeMetricFamily(
            "starledger_database_connections_max", "Connections that there can be.", labels=["pool"]
        )
        for name, (used, size) in self._database.pools().items():
            in_use.add_metric([name], used)
            most.add_metric([name], size)
        yield from (in_use, most)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value=value)


def _of_backlog(backlog: Backlog, now: datetime) -> Iterator[Metric]:
    waiting = GaugeMetricFamily(
        "starledger_events_waiting", "Charges, refunds and stuck renewals that wait.", labels=["state"]
    )
    oldest = GaugeMetricFamily(
        "starledger_events_waiting_oldest_seconds",
        "Age of the oldest charge or refund; 0 without one.",
        labels=["state"],
    )
    for state, queue in backlog.events.items():
        waiting.add_metric([state], queue.count)
        oldest.add_metric([state], _age_seconds(queue, now))
    waiting.add_metric(["renewal"], backlog.renewals)
    yield from (waiting, oldest)
    yield _gauge("starledger_outbox_messages", "Messages that are still to be delivered.", backlog.notices.count)
    outbox_age_seconds = _age_seconds(backlog.notices, now)
    yield _gauge("starledger_outbox_oldest_seconds", "Age of the oldest of them; 0 without one.", outbox_age_seconds)
    quarantined = backlog.quarantined.count
    yield _gauge("starledger_quarantined_updates", "Updates with money that could not be recorded.", quarantined)


def _of_ledger(drift: Drift | None, now: datetime) -> Iterator[Metric]:
    if drift is None or drift.compared_at is None:
        return
    yield _gauge("starledger_ledger_drift_stars", "Stars that our rows have more than Telegram's ledger.", drift.stars)
    balance_off_stars = drift.balance_off_nanostars / NANOSTARS
    yield _gauge(
        "starledger_ledger_balance_off_stars", "The bot's balance less what the ledger adds up to.", balance_off_stars
    )
    age_seconds = (now - drift.compared_at).total_seconds()
    yield _gauge(
        "starledger_ledger_compared_age_seconds", "Time since the ledger was compared to its end.", age_seconds
    )


def _age_seconds(queue: Queue, now: datetime) -> float:
    return max(0.0, (now - queue.oldest_at).total_seconds()) if queue.oldest_at else 0.0
