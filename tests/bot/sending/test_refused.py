"""Messages that Telegram refuses for good: the outbox notes them, and the admins hear of them."""

import asyncio

import pytest

from bot.chat.moved_chats import note_moved
from bot.sending.pace import Pace
from payments.loop import AWAY_ATTEMPTS_MAX
from payments.notices import Notice
from payments.pause import Pause
from sandbox.faults import FaultKind
from sandbox.people import Reach
from tests.bot.sending.owed import ADMIN, ANN, BOB, NOBODY, OLD_GROUP, Owed
from tests.support.logs import logged
from tests.support.waiting import WAIT_SECONDS


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


async def test_undeliverable_notice_is_told_to_admins_once_a_day_per_chat(owed: Owed) -> None:
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


async def test_undeliverable_alert_is_told_to_another_admin_once(owed: Owed) -> None:
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


async def test_notice_that_always_fails_is_given_up_and_the_next_is_sent(owed: Owed) -> None:
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


async def test_notice_to_a_moved_group_goes_to_its_new_chat(owed: Owed) -> None:
    group = await owed.client.add_group("Desk", member_ids=[ANN], admin_ids=[ANN])
    await owed.owe(OLD_GROUP, "1")
    await owed.client.add_fault(FaultKind.MIGRATED, "sendMessage", migrate_to_chat_id=group.id)
    with logged("ERROR") as records:
        await owed.deliver()
    assert await owed.told(group.id) == ["1"]
    ((row,), (said,)) = (await owed.rows(), records)
    assert (row.chat_id, row.sent_at, row.attempts) == (group.id, owed.clock(), 0)
    assert f"the group is now {group.id}: put that into ADMIN_CHAT_ID" in said["message"]


async def test_messages_to_a_moved_group_follow_it_without_a_rest(owed: Owed) -> None:
    owed.outbox = owed.make_outbox(Pace(owed.clock, Pause(owed.clock)))
    group = await owed.client.add_group("Desk", member_ids=[ANN], admin_ids=[ANN])
    async with owed.database.transaction() as session:
        await note_moved(session, OLD_GROUP, group.id, owed.clock)
    await owed.owe(OLD_GROUP, "1", "2", "3")
    await owed.deliver()
    assert {row.chat_id for row in await owed.rows()} == {group.id}


async def test_notice_owed_to_old_and_new_chat_of_a_group_comes_once(owed: Owed) -> None:
    group = await owed.client.add_group("Desk", member_ids=[ANN], admin_ids=[ANN])
    for chat_id in (OLD_GROUP, group.id):
        await owed.owe(chat_id, "1", event_id="parked before and after ADMIN_CHAT_ID was changed")
    await owed.owe(BOB, "2")
    await owed.client.add_fault(FaultKind.MIGRATED, "sendMessage", migrate_to_chat_id=group.id)
    await owed.deliver()
    assert (await owed.told(group.id), await owed.told(BOB)) == (["1"], ["2"])
    assert [row.due_at for row in await owed.rows()] == 3 * [None]


async def test_a_group_that_is_said_to_have_become_itself_gets_its_messages_later(owed: Owed) -> None:
    await owed.owe(ANN, "1", "2")
    await owed.client.add_fault(FaultKind.MIGRATED, "sendMessage", migrate_to_chat_id=ANN)
    await owed.deliver()
    owed.clock.advance(hours=2)
    await owed.deliver()
    assert await owed.told(ANN) == ["1", "2"]


async def test_a_group_that_is_said_to_move_to_and_fro_is_written_to_where_it_was_last(owed: Owed) -> None:
    group = await owed.client.add_group("Desk", member_ids=[ANN], admin_ids=[ANN])
    other = await owed.client.add_group("Desk", member_ids=[ANN], admin_ids=[ANN])
    await owed.owe(group.id, "1")
    for chat_id in (other.id, group.id):
        await owed.client.add_fault(FaultKind.MIGRATED, "sendMessage", migrate_to_chat_id=chat_id)
    async with asyncio.timeout(WAIT_SECONDS):
        await owed.deliver()
    assert await owed.told(group.id) == ["1"]
