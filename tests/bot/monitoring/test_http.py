import asyncio
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from bot import __version__
from bot.monitoring.call_meter import CallMeter
from bot.monitoring.gauges import DeskGauges
from bot.monitoring.health import Health
from bot.monitoring.http import monitoring_server
from bot.settings import SettingsError
from db.engine import Database
from payments.ledger import progress
from tests.support.clock import FakeClock
from tests.support.desk import Desk
from tests.support.money import charge
from tests.support.obstacles import locked
from tests.support.ports import free_port
from tests.support.subscription_facts import give_up, paid
from tests.support.waiting import WAIT_SECONDS

pytestmark = pytest.mark.engines("sqlite", "postgresql")


class Served:
    """The pages of one desk, and the health that they tell."""

    def __init__(self, database: Database, clock: FakeClock, port: int) -> None:
        self.health: Final = Health(clock)
        self.gauges: Final = DeskGauges(database, CallMeter(), self.health, clock)
        self.port: Final = port

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
            return answer.status, await answer.text()

    async def samples(self) -> dict[tuple[str, ...], float]:
        """Return what /metrics says by name and values of labels, read as Prometheus reads it."""
        status, page = await self.get("/metrics")
        assert status == 200
        families = text_string_to_metric_families(page)
        return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


@pytest_asyncio.fixture
async def served(database: Database, clock: FakeClock) -> AsyncIterator[Served]:
    served = Served(database, clock, free_port())
    async with monitoring_server(served.port, served.health, served.gauges):
        yield served


@pytest.mark.engines("sqlite")
async def test_the_health_page_tells_the_states_apart(served: Served) -> None:
    status, page = await served.get("/healthz")
    assert (status, page) == (503, '{"state": "starting", "troubles": {}}')
    served.health.is_standing_by = lambda: True
    assert await served.get("/healthz") == (200, '{"state": "standing_by", "troubles": {}}')
    served.health.begin()
    assert await served.get("/healthz") == (200, '{"state": "healthy", "troubles": {}}')
    served.health.note("telegram", "Telegram cannot be reached: TelegramNetworkError")
    status, page = await served.get("/healthz")
    assert status == 503
    assert '"telegram": {"since": "2026-03-01T12:00:00+00:00", "why": "Telegram cannot be reached' in page


@pytest.mark.criterion("O7", "L3")
async def test_metrics_read_the_waiting_rows_from_the_database(served: Served, desk: Desk) -> None:
    await desk.record(charge())
    desk.clock.advance(seconds=90)
    samples = await served.samples()
    assert samples["starledger_events_waiting", "pending"] == 1
    assert samples["starledger_events_waiting", "parked"] == 0
    assert samples["starledger_events_waiting", "renewal"] == 0
    assert samples["starledger_events_waiting_oldest_seconds", "pending"] == 90
    assert samples["starledger_outbox_messages",] == 0
    assert samples["starledger_quarantined_updates",] == 0
    assert samples["starledger_database_up",] == 1
    assert any(name[0] == "starledger_build_info" and __version__ in name for name in samples)
    assert any(name[0] == "starledger_database_connections_max" for name in samples)
    assert any(name[0] == "process_resident_memory_bytes" for name in samples)


@pytest.mark.criterion("O7", "N3")
async def test_a_subscription_that_could_not_be_cancelled_is_measured(served: Served, desk: Desk) -> None:
    await desk.take(paid(1))
    await give_up(desk)
    assert (await served.samples())["starledger_events_waiting", "renewal"] == 1


@pytest.mark.criterion("O7")
async def test_the_drift_of_the_ledger_is_told_once_it_was_compared(served: Served, desk: Desk) -> None:
    assert not [name for name in await served.samples() if name[0].startswith("starledger_ledger_")]
    async with desk.database.transaction() as session:
        stand = await progress.lock(session)
        stand.event_stars, stand.payment_stars, stand.compared_at = 207, 200, desk.clock()
        stand.balance_off_nanostars = -500_000_000
    desk.clock.advance(minutes=5)
    samples = await served.samples()
    assert samples["starledger_ledger_drift_stars",] == 7
    assert samples["starledger_ledger_balance_off_stars",] == -0.5
    assert samples["starledger_ledger_compared_age_seconds",] == 300


async def test_simultaneous_scrapes_share_one_reading(served: Served, desk: Desk) -> None:
    await desk.record(charge())
    for samples in await asyncio.gather(served.samples(), served.samples(), served.samples()):
        assert samples["starledger_events_waiting", "pending"] == 1


async def test_a_database_that_does_not_answer_holds_up_nobody_and_is_told(
    served: Served, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.is_sqlite:
        # SQLite's readers wait for no lock: another database's error stands for it.
        await database.dispose()
        monkeypatch.setattr(database, "reading", _no_database)
        samples = await served.samples()
    else:
        served.gauges._read_seconds = 0.01
        async with locked(database, database_url, "stripe_events"):
            samples = await served.samples()
        served.gauges._read_seconds = WAIT_SECONDS
    assert samples["starledger_database_up",] == 0
    assert not any(name[0] == "starledger_events_waiting" for name in samples)
    monkeypatch.undo()
    await served.samples()
    assert (await served.samples())["starledger_database_up",] == 1


def _no_database() -> None:
    raise OSError("away")


@pytest.mark.engines("sqlite")
async def test_a_port_that_another_program_has_is_a_wrong_setting(served: Served) -> None:
    with pytest.raises(SettingsError, match=f"HTTP_PORT is {served.port}, and another program has that port"):
        async with monitoring_server(served.port, served.health, served.gauges):
            pass
