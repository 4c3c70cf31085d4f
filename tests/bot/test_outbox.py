"""What is owed goes out: at least once, in order, whatever Telegram and the database do meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from sqlalchemy import insert, select

from bot.outbox import BATCH_MAX, Outbox
from bot.pace import Pace
from db.clock import Clock, utc_now
from db.engine import Database
from db.errors import is_away
from db.tables import OutboxMessage, User
from payments.events import AWAY_ATTEMPTS_MAX
from payments.notices import Notice, owe
from payments.pause import Pause
from sandbox.faults import FaultKind
from sandbox.people import Reach
from sandbox.server import SandboxServer, running_sandbox
from tests.support.clock import FakeClock
from tests.support.logs import logged
from tests.support.obstacles import breaking_off, locked

ANN: Final = 7001
BOB: Final = 7002
ADMIN: Final = 7003
NOBODY: Final = 7999
OLD_GROUP: Final = -7000


class Owed:
    """Messages that are owed, their delivery, and what came of them."""

    def __init__(self, server: SandboxServer, bot: Bot, database: Database, clock: FakeClock) -> None:
        self.client = server.client
        self.database = database
        self.clock = clock
        self._bot = bot
        self.outbox = self.next_outbox()
        self.broken: set[str] = set()
        self.languages: dict[str, str | None] = {}

    def next_outbox(self) -> Outbox:
        """Return the outbox of the next process, one whose chats need no rest."""
        return self.make_outbox(Pace(self.clock, rest_seconds=lambda _: 0))

    def make_outbox(self, pace: Pace, clock: Clock | None = None) -> Outbox:
        return Outbox(
            self._bot,
            self.database,
            self._render,
            clock or self.clock,
            alert_chat_ids=[ADMIN],
            admin_ids=[ADMIN, BOB],
            pace=pace,
        )

    def _render(self, notice: Notice, facts: dict[str, Any], language_code: str | None) -> str:
        if notice is Notice.UNDELIVERED:
            return f"undelivered to {facts['reader']}: {facts['about']}: {facts['why']}"
        text: str = facts["text"]
        if text in self.broken:
            raise KeyError(text)
        self.languages[text] = language_code
        return text

    async def owe(self, chat_id: int, *texts: str, again: bool = False, event_id: str | None = None) -> None:
        """Owe a chat texts, each of an event of its own; `again`: of one that it was told of before."""
        async with self.database.transaction() as session:
            for text in texts:
                await owe(
                    session,
                    Notice.PARKED,
                    event_id=event_id or f"{chat_id}:{text.removesuffix(' anew')}",
                    chat_id=chat_id,
                    facts={"text": text},
                    now=self.clock(),
                    again=again,
                )

    async def deliver(self) -> None:
        """Deliver until nothing is due."""
        while await self.outbox.deliver_once():
            pass

    async def told(self, chat_id: int) -> list[str]:
        return [message.text() for message in await self.client.chat(chat_id)]

    async def rows(self) -> list[OutboxMessage]:
        async with self.database.reading() as session:
            return list(await session.scalars(select(OutboxMessage).order_by(OutboxMessage.id)))


@pytest_asyncio.fixture
async def owed(database: Database, clock: FakeClock) -> AsyncIterator[Owed]:
    async with running_sandbox() as server:
        await server.client.add_person("Ann", id=ANN, started=True)
        await server.client.add_person("Bob", id=BOB, started=True)
        await server.client.add_person("Max", id=ADMIN, started=True)
        session = AiohttpSession(api=TelegramAPIServer.from_base(server.url))
        async with Bot(server.token, session=session) as bot:
            yield Owed(server, bot, database, clock)


@pytest.mark.criterion("C9", "R6")
async def test_what_is_owed_comes_once_and_in_order(owed: Owed) -> None:
    await owed.owe(ANN, "1", "2", "3")
    await owed.owe(BOB, "4")
    assert await owed.outbox.deliver_once() == 2
    await owed.deliver()
    await owed.deliver()
    assert await owed.told(ANN) == ["1", "2", "3"]
    assert await owed.told(BOB) == ["4"]
    assert [(row.due_at, row.sent_at, row.error) for row in await owed.rows()] == 4 * [(None, owed.clock(), None)]


async def test_a_round_is_bounded_and_none_is_left_out(owed: Owed) -> None:
    for number in range(BATCH_MAX + 1):
        person = await owed.client.add_person(f"Number {number}", started=True)
        await owed.owe(person.id, "1")
    assert [await owed.outbox.deliver_once() for _ in range(3)] == [BATCH_MAX, 1, 0]


@pytest.mark.parametrize(
    ("chat_id", "words"), [(ANN, "Forbidden: bot was blocked by the user"), (NOBODY, "Bad Request: chat not found")]
)
async def test_a_refusal_is_final_and_noted(owed: Owed, chat_id: int, words: str) -> None:
    await owed.client.set_reach(ANN, Reach.BLOCKED)
    await owed.owe(chat_id, "1")
    await owed.owe(BOB, "2")
    await owed.deliver()
    refused, sent, *_ = await owed.rows()
    assert (refused.due_at, refused.sent_at) == (None, None)
    assert refused.error is not None
    assert words.removeprefix("Bad Request: ") in refused.error
    assert sent.sent_at is not None
    # Unblocking brings nothing back; what is new comes.
    await owed.client.set_reach(ANN, Reach.OPEN)
    await owed.owe(ANN, "3")
    await owed.deliver()
    assert await owed.told(ANN) == ["3"]


@pytest.mark.criterion("E1")
async def test_a_pause_that_telegram_asks_for_is_kept(owed: Owed) -> None:
    await owed.owe(ANN, "1", "2")
    await owed.owe(BOB, "3")
    await owed.client.add_fault(FaultKind.RETRY_AFTER, "sendMessage", retry_after_seconds=33)
    await owed.deliver()
    owed.clock.advance(seconds=32)
    await owed.deliver()
    assert (await owed.told(ANN), await owed.told(BOB)) == ([], [])
    assert len(await owed.client.calls("sendMessage")) == 1
    owed.clock.advance(seconds=1)
    await owed.deliver()
    assert (await owed.told(ANN), await owed.told(BOB)) == (["1", "2"], ["3"])
    # It was no failure: it would count towards giving up.
    assert [row.attempts for row in await owed.rows()] == [0, 0, 0]


async def test_a_pause_that_somebody_else_was_asked_for_is_kept_too(owed: Owed) -> None:
    pause = Pause(owed.clock)
    owed.outbox = owed.make_outbox(Pace(owed.clock, pause))
    await owed.owe(ANN, "1")
    pause.ask(7)
    await owed.deliver()
    assert await owed.client.calls("sendMessage") == []
    owed.clock.advance(seconds=7)
    await owed.deliver()
    assert await owed.told(ANN) == ["1"]


async def test_a_chat_is_written_to_once_a_second_and_a_group_every_three(owed: Owed) -> None:
    group = await owed.client.add_group("Desk", member_ids=[ANN], admin_ids=[ANN])
    for chat_id in (ANN, BOB, group.id):
        await owed.owe(chat_id, *"123456")
    owed.outbox = owed.make_outbox(Pace(owed.clock))
    seen = []
    for _ in range(5):
        await owed.deliver()
        seen.append([len(await owed.told(chat_id)) for chat_id in (ANN, BOB, group.id)])
        owed.clock.advance(seconds=1)
    assert seen == [[1, 1, 1], [2, 2, 1], [3, 3, 1], [4, 4, 2], [5, 5, 2]]
    # Nor is anybody silenced by a clock that is set back.
    owed.clock.advance(seconds=-2)
    await owed.deliver()
    assert len(await owed.told(ANN)) == 6


async def test_what_waits_for_its_chat_goes_out_when_the_rest_is_over(
    owed: Owed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payments.loop.IDLE_SECONDS", 3600)
    owed.outbox = owed.make_outbox(Pace(utc_now, rest_seconds=lambda _: 0.05), utc_now)
    await owed.owe(ANN, "1", "2", "3")
    running = asyncio.create_task(owed.outbox.loop.run())
    await owed.client.wait_for_text(ANN, "3")
    owed.outbox.loop.stop()
    await running


@pytest.mark.criterion("E1")
@pytest.mark.parametrize("fault", [FaultKind.CUT_BEFORE, FaultKind.SERVER_ERROR])
async def test_what_fails_is_tried_again_with_growing_pauses_in_order(owed: Owed, fault: FaultKind) -> None:
    await owed.owe(ANN, "1", "2")
    pauses = []
    for _ in range(3):
        await owed.client.add_fault(fault, "sendMessage")
        await owed.deliver()
        due_at = (await owed.rows())[0].due_at
        assert due_at is not None
        pauses.append((due_at - owed.clock()).total_seconds())
        # Another chat does not wait for this one.
        await owed.owe(BOB, str(len(pauses)))
        await owed.deliver()
        assert len(await owed.told(BOB)) == len(pauses)
        owed.clock.now = due_at
    assert 0 < pauses[0] < pauses[1] < pauses[2]
    assert await owed.told(ANN) == []
    await owed.deliver()
    assert await owed.told(ANN) == ["1", "2"]


async def test_what_cannot_be_delivered_is_told_to_the_admins_once_a_day_for_each_chat(owed: Owed) -> None:
    await owed.owe(NOBODY, "1", "2")
    await owed.deliver()
    (told,) = await owed.told(ADMIN)
    assert told.startswith(f"undelivered to {NOBODY}: {NOBODY}:1: ")
    assert "chat not found" in told
    owed.clock.advance(days=1)
    await owed.owe(NOBODY, "3")
    await owed.deliver()
    assert len(await owed.told(ADMIN)) == 2


async def test_a_buyer_who_blocked_the_bot_is_no_news(owed: Owed) -> None:
    await owed.client.set_reach(ANN, Reach.BLOCKED)
    await owed.owe(ANN, "1")
    await owed.deliver()
    assert await owed.told(ADMIN) == []


async def test_when_alerts_cannot_be_delivered_another_admin_hears_of_it_and_nothing_breeds(owed: Owed) -> None:
    for admin_id in (ADMIN, BOB):
        await owed.client.set_reach(admin_id, Reach.BLOCKED)
    await owed.owe(ADMIN, "1", "2")
    await owed.deliver()
    assert [(row.chat_id, row.kind, row.due_at) for row in await owed.rows()] == [
        (ADMIN, Notice.PARKED, None),
        (ADMIN, Notice.PARKED, None),
        (BOB, Notice.UNDELIVERED, None),
    ]
    await owed.client.set_reach(BOB, Reach.OPEN)
    owed.clock.advance(days=1)
    await owed.owe(ADMIN, "3")
    await owed.deliver()
    assert [text.partition(": ")[0] for text in await owed.told(BOB)] == [f"undelivered to {ADMIN}"]


async def test_what_fails_for_ever_is_given_up_and_the_next_goes_on(owed: Owed) -> None:
    await owed.owe(ANN, "1", "2")
    await owed.client.add_fault(FaultKind.SERVER_ERROR, "sendMessage", count=AWAY_ATTEMPTS_MAX)
    with logged("ERROR") as records:
        for _ in range(AWAY_ATTEMPTS_MAX):
            await owed.deliver()
            owed.clock.advance(hours=2)
    await owed.deliver()
    assert await owed.told(ANN) == ["2"]
    assert ["a message is given up" in record["message"] for record in records] == [True]
    assert records[0]["extra"]["chat_id"] == ANN
    given_up = (await owed.rows())[0]
    assert (given_up.due_at, given_up.sent_at) == (None, None)
    assert "TelegramServerError" in (given_up.error or "")
    (told,) = await owed.told(ADMIN)
    assert told.startswith(f"undelivered to {ANN}: ")


@pytest.mark.criterion("O6")
async def test_a_notice_that_cannot_be_made_waits_and_holds_up_no_other_chat(owed: Owed) -> None:
    owed.broken = {"1"}
    await owed.owe(ANN, "1")
    await owed.owe(BOB, "2")
    with logged("ERROR") as records:
        await owed.deliver()
    assert await owed.told(BOB) == ["2"]
    assert [record["exception"] is not None for record in records] == [True]
    # The next version can make it.
    owed.broken = set()
    owed.clock.advance(hours=1)
    await owed.deliver()
    assert await owed.told(ANN) == ["1"]


async def test_a_notice_that_cannot_be_made_holds_up_nothing_newer_in_its_chat(owed: Owed) -> None:
    owed.broken = {"1"}
    await owed.owe(ANN, "1", "2", "3")
    await owed.deliver()
    assert await owed.told(ANN) == ["2", "3"]
    # It is not given up: the next version can make it.
    owed.broken = set()
    owed.clock.advance(hours=1)
    await owed.deliver()
    assert await owed.told(ANN) == ["2", "3", "1"]


async def test_a_kind_of_a_newer_version_holds_up_no_other_chat(owed: Owed) -> None:
    row = {"event_id": "e", "kind": "telepathy", "chat_id": ANN, "facts": "{}"}
    async with owed.database.transaction() as session:
        await session.execute(insert(OutboxMessage), row | {"created_at": owed.clock(), "due_at": owed.clock()})
    await owed.owe(BOB, "2")
    await owed.deliver()
    assert await owed.told(BOB) == ["2"]


@pytest.mark.criterion("E2")
async def test_what_telegram_has_is_told_once_though_the_database_was_away_to_note_it(
    owed: Owed, database_url: str
) -> None:
    await owed.owe(ANN, "1", "2")
    if owed.database.is_sqlite:
        obstacle = locked(owed.database, database_url, "outbox")
    else:
        obstacle = breaking_off(owed.database, "UPDATE", "outbox")
    async with obstacle:
        for _ in range(2):
            with pytest.raises(Exception, match=r".") as raised:
                await owed.outbox.deliver_once()
            assert is_away(raised.value)
    assert await owed.told(ANN) == ["1"]
    await owed.deliver()
    assert await owed.told(ANN) == ["1", "2"]
    assert None not in [row.sent_at for row in await owed.rows()]
    assert owed.outbox._unnoted == set()


async def test_what_is_owed_anew_while_it_is_being_told_is_told_anew(owed: Owed) -> None:
    await owed.owe(ANN, "1")
    await owed.client.add_fault(FaultKind.HOLD, "sendMessage")
    telling = asyncio.create_task(owed.outbox.deliver_once())
    await owed.client.wait_until_held()
    owed.clock.advance(minutes=1)
    await owed.owe(ANN, "1 anew", again=True)
    await owed.client.release_holds()
    await telling
    await owed.deliver()
    assert await owed.told(ANN) == ["1", "1 anew"]


async def test_a_stop_leaves_the_rest_to_the_next_start_and_nothing_is_told_twice(owed: Owed) -> None:
    await owed.owe(ANN, "1")
    await owed.owe(BOB, "2")
    await owed.client.add_fault(FaultKind.HOLD, "sendMessage")
    running = asyncio.create_task(owed.outbox.loop.run())
    await owed.client.wait_until_held()
    owed.outbox.loop.stop()
    await owed.client.release_holds()
    await running
    assert (await owed.told(ANN), await owed.told(BOB)) == (["1"], [])
    owed.outbox = owed.next_outbox()
    await owed.deliver()
    assert (await owed.told(ANN), await owed.told(BOB)) == (["1"], ["2"])


async def test_what_is_owed_to_a_group_that_became_another_chat_is_told_there(owed: Owed) -> None:
    group = await owed.client.add_group("Desk", member_ids=[ANN], admin_ids=[ANN])
    await owed.owe(OLD_GROUP, "1")
    await owed.client.add_fault(FaultKind.MIGRATED, "sendMessage", migrate_to_chat_id=group.id)
    with logged("ERROR") as records:
        await owed.deliver()
    assert await owed.told(group.id) == ["1"]
    ((row,), (said,)) = (await owed.rows(), records)
    assert (row.chat_id, row.sent_at, row.attempts) == (group.id, owed.clock(), 0)
    assert f"the group is now {group.id}: put that into ADMIN_CHAT_ID" in said["message"]


async def test_what_the_new_chat_of_a_group_is_owed_already_is_told_there_once(owed: Owed) -> None:
    group = await owed.client.add_group("Desk", member_ids=[ANN], admin_ids=[ANN])
    for chat_id in (OLD_GROUP, group.id):
        await owed.owe(chat_id, "1", event_id="parked before and after ADMIN_CHAT_ID was changed")
    await owed.owe(BOB, "2")
    await owed.client.add_fault(FaultKind.MIGRATED, "sendMessage", migrate_to_chat_id=group.id)
    await owed.deliver()
    assert (await owed.told(group.id), await owed.told(BOB)) == (["1"], ["2"])
    assert [row.due_at for row in await owed.rows()] == 3 * [None]


async def test_the_reader_is_told_in_the_language_that_came_last_with_them(owed: Owed) -> None:
    async with owed.database.transaction() as session:
        session.add(User(telegram_id=ANN, language_code="de"))
        session.add(User(telegram_id=BOB))
    await owed.owe(ANN, "1")
    await owed.owe(BOB, "2")
    await owed.owe(NOBODY, "3")
    await owed.deliver()
    assert owed.languages == {"1": "de", "2": None, "3": None}
