"""The poll goes on after every error of Telegram's, and logs it once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Final

import pytest
import pytest_asyncio
from aiogram import Bot
from aiogram.exceptions import ClientDecodeError, TelegramConflictError, TelegramNetworkError
from aiogram.methods import GetUpdates
from aiogram.types import Update

from bot.poll.conflicts import QUIET_MINUTES, ConflictAlert
from bot.poll.intake import Intake
from bot.poll.lanes import Lanes
from bot.poll.polling import Outage, poll_forever
from db.engine import Database
from db.errors import AnotherDeskError
from payments.audit.facts import Fact
from payments.notices import Admins, Notice
from payments.recording.recorder import Recorder
from sandbox.faults import FaultKind
from sandbox.server import SandboxServer, running_sandbox
from tests.support.bots import talking_bot
from tests.support.clock import FakeClock
from tests.support.desk import Desk
from tests.support.logs import logged
from tests.support.money import ADMIN_CHAT_ID, ADMINS, charge, charge_update
from tests.support.obstacles import locked, refusing
from tests.support.timings import QUICK
from tests.support.waiting import WAIT_SECONDS

IMPATIENT: Final = replace(QUICK, bug_pause_seconds=0.01)
AWAY: Final = TelegramNetworkError(GetUpdates(), "nobody there")


class Poll:
    """A poll that runs, and what came through it."""

    def __init__(self, server: SandboxServer, api: Bot, database: Database) -> None:
        self.server = server
        self.client = server.client
        self.api = api
        self.served: asyncio.Queue[str | None] = asyncio.Queue()
        self.obstacle: Callable[[], Awaitable[None]] = _nothing
        self.lanes = Lanes(self._serve, on_full=lambda: None)
        self.clock = FakeClock()
        self.owed = asyncio.Event()
        self.conflicts = ConflictAlert(database, self.clock, ADMINS, on_owed=self.owed.set)
        recorder = Recorder(
            database, self.clock, Admins(), record_seconds=WAIT_SECONDS, ensure_active=self._ensure_active
        )
        self.task = asyncio.create_task(poll_forever(Intake(api, recorder, self.lanes), self.conflicts, IMPATIENT))

    async def _ensure_active(self) -> None:
        await self.obstacle()

    async def _serve(self, _: Update, fact: Fact | None) -> None:
        assert fact is not None
        await self.served.put(fact.charge_id)

    async def takes(self, charge_id: str) -> None:
        """Have a payment arrive, and wait until it is served."""
        await self.client.push_raw(charge_update(charge(charge_id)))
        async with asyncio.timeout(WAIT_SECONDS):
            assert await self.served.get() == charge_id


async def _nothing() -> None:
    """Let every write through."""


@pytest_asyncio.fixture
async def poll(sqlite_database: Database) -> AsyncIterator[Poll]:
    async with running_sandbox() as server, talking_bot(server.url, server.token) as api:
        poll = Poll(server, api, sqlite_database)
        poll.lanes.start()
        await server.client.wait_until_polling(timeout_seconds=WAIT_SECONDS)
        yield poll
        poll.task.cancel()
        await asyncio.wait({poll.task})
        await poll.lanes.close(WAIT_SECONDS)


@pytest.mark.criterion("E1", "C1")
@pytest.mark.parametrize(
    ("fault", "more", "words"),
    [
        (FaultKind.SERVER_ERROR, {"status": 502}, "Telegram cannot be reached, trying on: TelegramServerError"),
        (FaultKind.CUT_BEFORE, {}, "Telegram cannot be reached, trying on: TelegramNetworkError"),
        (FaultKind.ANSWER_LOST, {}, "Telegram cannot be reached, trying on: TelegramNetworkError"),
        (FaultKind.RETRY_AFTER, {"retry_after_seconds": 1}, "Telegram asks for a pause of 1 s (getUpdates)"),
    ],
)
async def test_polling_outlives_outages_and_floods_of_telegram(
    poll: Poll, fault: FaultKind, more: dict[str, int], words: str
) -> None:
    with logged() as records:
        await poll.client.add_fault(fault, "getUpdates", count=2, **more)
        for charge_id in ("before", "between", "behind"):
            await poll.takes(charge_id)
    said = [record["message"] for record in records if record["name"] == "bot.poll.polling"]
    assert len(said) == 2
    assert said[0].startswith(words)
    assert said[1] == "Telegram answers again"


@pytest.mark.criterion("S7")
async def test_a_token_that_is_revoked_meanwhile_is_said_and_not_shown(poll: Poll) -> None:
    old = poll.server.token

    async def is_refused() -> bool:
        return any(call.status == 401 for call in await poll.client.calls("getUpdates"))

    with logged() as records:
        await poll.client.replace_token(f"{old.partition(':')[0]}:another-another-another-another-ano")
        await poll.client.push_raw({})
        await poll.client.wait_until(is_refused, timeout_seconds=WAIT_SECONDS, what="a refused poll")
        await poll.client.replace_token(old)
        await poll.takes("behind")
    said = [record["message"] for record in records if record["name"] == "bot.poll.polling"]
    assert "Put the new one into TELEGRAM_BOT_TOKEN" in said[0]
    assert len(said) == 2
    assert not any(old in str(record) for record in records)


async def _conflict(poll: Poll) -> None:
    """Let another program poll until one of the two is refused, and this one again."""
    async with talking_bot(poll.server.url, poll.server.token) as other:
        with pytest.raises(TelegramConflictError):
            await other.get_updates(timeout=WAIT_SECONDS)
    await poll.client.wait_until_polling(timeout_seconds=WAIT_SECONDS)


async def test_another_poller_is_reported_and_takes_nothing_away(poll: Poll) -> None:
    with logged() as records:
        await _conflict(poll)
        await poll.takes("behind")
    said = [record["message"] for record in records if record["name"] == "bot.poll.polling"]
    assert "another program polls with the same token" in said[0]


async def test_the_admins_are_told_of_another_poller_once_for_each_episode(
    poll: Poll, sqlite_database: Database, clock: FakeClock
) -> None:
    desk = Desk(sqlite_database, clock)
    for _ in range(3):
        await _conflict(poll)
        poll.clock.advance(minutes=QUIET_MINUTES)
    assert poll.owed.is_set()
    ((notice, chat_id, facts),) = await desk.notices()
    assert (notice, chat_id) == (Notice.CONFLICT, ADMIN_CHAT_ID)
    assert "make sure that only one bot instance is running" in facts["why"]
    poll.clock.advance(seconds=1)
    await _conflict(poll)
    assert len(await desk.notices()) == 2


async def test_a_conflict_while_the_database_is_away_is_told_of_later(
    sqlite_database: Database, sqlite_url: str, clock: FakeClock
) -> None:
    desk = Desk(sqlite_database, clock)
    alert = ConflictAlert(sqlite_database, clock, ADMINS, on_owed=lambda: None)
    async with locked(sqlite_database, sqlite_url, "outbox"):
        await alert.note("Conflict")
    # Not even a bug may end the poll.
    async with refusing(sqlite_database, "INSERT", "outbox"):
        await alert.note("Conflict")
    await alert.note("Conflict")
    assert await desk.told() == [(Notice.CONFLICT, ADMIN_CHAT_ID)]


@pytest.mark.criterion("O6", "E2")
async def test_a_bug_is_logged_and_the_batch_comes_again(poll: Poll) -> None:
    bugs = iter([RuntimeError("a bug"), RuntimeError("a bug")])

    async def stumble() -> None:
        for bug in bugs:
            raise bug

    poll.obstacle = stumble
    with logged("ERROR") as records:
        await poll.takes("behind")
    assert [record["exception"] is not None for record in records] == [True, True]


async def test_polling_ends_when_another_desk_has_taken_over(poll: Poll) -> None:
    async def taken_over() -> None:
        raise AnotherDeskError("another desk has taken over this database")

    poll.obstacle = taken_over
    await poll.client.push_raw(charge_update(charge()))
    with pytest.raises(AnotherDeskError):
        await asyncio.wait_for(poll.task, WAIT_SECONDS)
    assert len(await poll.client.updates_waiting()) == 1


@pytest.mark.parametrize(("say_again_seconds", "times"), [(60, 1), (0, 3)])
async def test_an_outage_is_said_again_when_it_is_time(say_again_seconds: int, times: int) -> None:
    outage = Outage(replace(QUICK, outage_log_seconds=say_again_seconds))
    with logged() as records:
        outage.over()
        for _ in range(3):
            await outage.wait(AWAY)
        outage.over()
        outage.over()
    assert ["nobody there" in record["message"] for record in records] == times * [True] + [False]


async def test_an_answer_that_cannot_be_read_is_not_quoted() -> None:
    with logged() as records:
        await Outage(QUICK).wait(ClientDecodeError("Failed", ValueError("a secret"), {"text": "a secret"}))
    assert "trying on: ClientDecodeError: ValueError" in records[0]["message"]
    assert "a secret" not in records[0]["message"]
