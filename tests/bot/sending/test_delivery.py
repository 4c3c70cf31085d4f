"""The outbox delivers each message at least once, in order, through outages of Telegram and the database."""

import asyncio

import pytest
from sqlalchemy import insert

from bot.sending.outbox import UNDER_WAY_MAX
from db.errors import is_away
from db.tables import OutboxMessage, User
from sandbox.faults import FaultKind
from tests.bot.sending.owed import ANN, BOB, NOBODY, Owed
from tests.support.bots import talking_bot
from tests.support.logs import logged
from tests.support.money import TOKEN
from tests.support.obstacles import breaking_off, locked
from tests.support.proxies import BAD_GATEWAY, proxy_that_answers

pytestmark = pytest.mark.engines("sqlite", "postgresql")


@pytest.mark.criterion("C9", "R6")
async def test_owed_notices_come_once_and_in_order(owed: Owed) -> None:
    await owed.owe(ANN, "1", "2", "3")
    await owed.owe(BOB, "4")
    assert await owed.outbox.deliver_once() == 2
    await owed.deliver()
    await owed.deliver()
    assert await owed.told(ANN) == ["1", "2", "3"]
    assert await owed.told(BOB) == ["4"]
    assert [(row.due_at, row.sent_at, row.error) for row in await owed.rows()] == 4 * [(None, owed.clock(), None)]


async def test_a_round_is_bounded_and_none_is_left_out(owed: Owed) -> None:
    for number in range(UNDER_WAY_MAX + 1):
        person = await owed.client.add_person(f"Number {number}", started=True)
        await owed.owe(person.id, "1")
    assert [await owed.outbox.deliver_once() for _ in range(3)] == [UNDER_WAY_MAX, 1, 0]


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


@pytest.mark.criterion("E1")
@pytest.mark.parametrize(
    ("answer", "is_told"),
    [
        (BAD_GATEWAY, False),
        ('{"message": "no upstream"}', False),
        ('{"ok": true, "result": {"of": "a Telegram that aiogram does not know yet"}}', True),
    ],
    ids=["a proxy's page", "a proxy's JSON", "Telegram's, of another form"],
)
async def test_notice_is_sent_only_by_telegrams_own_answer(owed: Owed, answer: str, *, is_told: bool) -> None:
    await owed.owe(ANN, "1")
    async with proxy_that_answers(answer, status=200) as proxy, talking_bot(proxy.url, TOKEN) as bot:
        owed.outbox = owed.next_outbox(bot)
        await owed.deliver()
        owed.clock.advance(minutes=1)
        await owed.deliver()
    assert proxy.asked == (1 if is_told else 2) * ["sendMessage"]
    [row] = await owed.rows()
    assert (row.sent_at is not None, row.due_at is None, row.attempts) == (is_told, is_told, 0 if is_told else 2)
    assert "Gateway" not in (row.error or "")


@pytest.mark.criterion("E2")
async def test_sent_notice_is_not_repeated_when_the_database_was_away(owed: Owed, database_url: str) -> None:
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


async def test_notice_renewed_while_it_is_sent_is_sent_again(owed: Owed) -> None:
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
    await owed.owe(ANN, "1", "2")
    await owed.client.add_fault(FaultKind.HOLD, "sendMessage")
    running = asyncio.create_task(owed.outbox.run())
    await owed.client.wait_until_held()
    owed.outbox.loop.stop()
    await owed.client.release_holds()
    await running
    assert await owed.told(ANN) == ["1"]
    owed.outbox = owed.next_outbox()
    await owed.deliver()
    assert await owed.told(ANN) == ["1", "2"]


async def test_the_reader_is_told_in_the_language_that_came_last_with_them(owed: Owed) -> None:
    async with owed.database.transaction() as session:
        session.add(User(telegram_id=ANN, language_code="de"))
        session.add(User(telegram_id=BOB))
    await owed.owe(ANN, "1")
    await owed.owe(BOB, "2")
    await owed.owe(NOBODY, "3")
    await owed.deliver()
    assert owed.languages == {"1": "de", "2": None, "3": None}
