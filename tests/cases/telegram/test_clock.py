"""A machine with a wrong clock: Telegram's time counts, and the admins hear of it."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from sqlalchemy import select

from bot.calls.telegram_time import TelegramTime
from bot.calls.time_reader import TimeReader
from db.engine import Database
from db.tables import OutboxMessage
from sandbox.server import SandboxServer, running_sandbox
from sandbox.settings import Settings
from tests.support.daemon import TOKEN, running_daemon
from tests.support.ports import free_port
from tests.support.waiting import until

ADMIN: Final = 7
HOUR_SECONDS: Final = 3600
DAY_SECONDS: Final = 24 * HOUR_SECONDS


async def _health(port: int) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/healthz") as answer:
        report: dict[str, Any] = await answer.json()
        return report


async def _metric(port: int, name: str) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        [value] = [line.split()[1] for line in (await answer.text()).splitlines() if line.startswith(f"{name} ")]
        return float(value)


async def _told(database: Database) -> list[str]:
    async with database.reading() as session:
        return list(await session.scalars(select(OutboxMessage.facts).where(OutboxMessage.kind == "clock")))


async def _moved(server: SandboxServer, seconds: float) -> None:
    """Make Telegram's time another than the machine's."""
    await server.client.move_clock(seconds)


async def test_an_answer_bears_the_sandboxs_own_date() -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server:
        await _moved(server, HOUR_SECONDS)
        async with aiohttp.ClientSession() as session, session.get(f"{server.url}/bot{TOKEN}/getMe") as answer:
            said_at = parsedate_to_datetime(answer.headers["Date"])
        assert abs(said_at - server.world.clock.now()) < timedelta(minutes=1)


async def test_beyond_a_minute_the_admins_are_told_once_and_the_health_is_degraded(
    tmp_path: Path, sqlite_url: str, sqlite_database: Database
) -> None:
    port = free_port()
    async with running_sandbox(Settings(token=TOKEN)) as server:
        await server.client.add_person("Max", id=ADMIN, started=True)
        await _moved(server, 3 * HOUR_SECONDS)
        with running_daemon(tmp_path, server.url, sqlite_url, ADMIN_IDS=str(ADMIN), HTTP_PORT=str(port)) as daemon:
            await daemon.until_said("ready")

            async def is_told() -> bool:
                return len(await _told(sqlite_database)) == 1

            await until(is_told)
            report = await _health(port)
            assert report["state"] == "degraded"
            assert report["troubles"]["clock"]["why"].startswith("this machine's clock is 3 h behind Telegram's")
            assert await _metric(port, "starledger_clock_offset_seconds") == pytest.approx(-3 * HOUR_SECONDS, abs=60)
            await daemon.stop()
        # A restart tells nothing twice on one day.
        with running_daemon(tmp_path, server.url, sqlite_url, ADMIN_IDS=str(ADMIN), HTTP_PORT=str(port)) as again:
            await again.until_said("timedatectl")
            await again.stop()
        assert len(await _told(sqlite_database)) == 1
        chat = await server.client.chat(ADMIN)
        assert len([each for each in chat if "The server's clock is wrong" in each.text()]) == 1


async def test_a_clock_that_goes_wrong_while_the_desk_runs_is_noticed(
    tmp_path: Path, sqlite_url: str, sqlite_database: Database
) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server:
        person = await server.client.add_person("Max", id=ADMIN, started=True)
        with running_daemon(tmp_path, server.url, sqlite_url, ADMIN_IDS=str(ADMIN)) as daemon:
            await daemon.until_said("ready")
            await _moved(server, 2 * HOUR_SECONDS)
            await server.client.send_text(person.id, "/status")

            async def is_told() -> bool:
                return len(await _told(sqlite_database)) == 1

            await until(is_told)
            await daemon.stop()


async def test_more_than_a_day_off_it_does_not_start(tmp_path: Path, sqlite_url: str) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server:
        await _moved(server, 3 * DAY_SECONDS + HOUR_SECONDS + 30)
        with running_daemon(tmp_path, server.url, sqlite_url) as daemon:
            assert await daemon.ended() == 78
        assert "this machine's clock is 3 d 1 h behind Telegram's: set it right" in daemon.said()


async def test_the_sandboxs_clock_is_obeyed_and_is_no_wrong_one(
    tmp_path: Path, sqlite_url: str, sqlite_database: Database
) -> None:
    port = free_port()
    async with running_sandbox(Settings(token=TOKEN)) as server:
        await _moved(server, 3 * DAY_SECONDS)
        clock = {"SANDBOX_CLOCK_URL": f"{server.url}/control/clock", "ADMIN_IDS": str(ADMIN)}
        with running_daemon(tmp_path, server.url, sqlite_url, HTTP_PORT=str(port), **dict[str, Any](clock)) as daemon:
            await daemon.until_said("ready")
            assert (await _health(port))["troubles"].keys() <= {"telegram"}
            assert await _metric(port, "starledger_clock_offset_seconds") == pytest.approx(0, abs=60)
            await daemon.stop()
    assert await _told(sqlite_database) == []


class _Head:
    def __init__(self, headers: dict[str, str]) -> None:
        self.response = self
        self.headers = headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Date": ""},
        {"Date": "yesterday"},
        {"Date": "Mon, 01 Jan 0001 00:00:00 +1400"},
        {"Date": "Fri, 31 Dec 9999 23:59:59 -1200"},
        {"Date": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"Date": format_datetime(datetime(2031, 1, 1, tzinfo=UTC), usegmt=True), "Content-Type": "text/html"},
    ],
)
async def test_wrong_date_header_does_not_move_telegrams_time(headers: dict[str, str]) -> None:
    time = TelegramTime(lambda: datetime(2026, 3, 1, tzinfo=UTC), lambda: 5.0)
    reader = TimeReader(time)
    for _ in range(5):
        context: Any = type("Context", (), {})()
        session: Any = None
        ended: Any = _Head({"Content-Type": "application/json"} | headers)
        await reader._on_start(session, context, ended)
        await reader._on_end(session, context, ended)
    assert time.skew == timedelta()
    assert not time.is_doubted
