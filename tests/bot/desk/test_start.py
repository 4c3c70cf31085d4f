"""The start of the desk: its waits, and the health that reports them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from bot.calls.telegram_time import TelegramTime
from bot.desk.start import prepare
from bot.monitoring.health import Health
from bot.settings import Settings
from db.engine import Database
from db.lock import desk_lock
from db.timings import Timings
from sandbox.faults import FaultKind
from sandbox.server import SandboxServer, running_sandbox
from sandbox.settings import Settings as SandboxSettings
from tests.support.bots import talking_bot
from tests.support.clock import FakeClock
from tests.support.daemon import TOKEN
from tests.support.logs import logged
from tests.support.waiting import WAIT_SECONDS

A_DAY: Final = 86_400


class Notes(Health):
    """A health that remembers all that it was told."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.noted: list[tuple[str, str | None]] = []

    def note(self, part: str, why: str | None) -> None:
        self.noted.append((part, why))
        super().note(part, why)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[SandboxServer]:
    async with running_sandbox(SandboxSettings(token=TOKEN)) as server:
        yield server


@pytest.mark.criterion("E1")
@pytest.mark.parametrize("method", ["getMe", "getStarTransactions"])
async def test_a_pause_of_a_day_is_cut_said_and_told_to_whoever_watches(
    server: SandboxServer,
    sqlite_url: str,
    sqlite_database: Database,
    clock: FakeClock,
    method: str,
) -> None:
    await server.client.add_fault(FaultKind.RETRY_AFTER, method, count=2, retry_after_seconds=A_DAY)
    settings = Settings(telegram_bot_token=TOKEN, telegram_api_url=server.url, database_url=sqlite_url)
    timings = Timings(retry_after_seconds_max=0.01)
    health, lock = Notes(clock), desk_lock(sqlite_url)
    with logged() as records:
        async with asyncio.timeout(WAIT_SECONDS), talking_bot(server.url, TOKEN) as bot:
            await prepare(
                settings, sqlite_database, lock, bot, clock, health, timings=timings, telegram_time=TelegramTime(clock)
            )
    await lock.release()
    said = [record["message"] for record in records]
    assert f"Telegram asks for a pause of {A_DAY} s ({method}): trying again in 0.01 s" in said
    noted = [(part, why and why.partition(" TelegramRetryAfter: ")[0]) for part, why in health.noted]
    assert noted == 2 * [("start", "it waits for Telegram:")] + [("start", None)]
    assert health.troubles == {}
