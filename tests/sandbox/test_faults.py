"""The sandbox's faults on demand, and the effects that happen all the same."""

import asyncio

import pytest
from aiogram import Bot
from aiogram.exceptions import (
    TelegramBadRequest,
    TelegramMigrateToChat,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
)

from sandbox.client import SandboxClient
from sandbox.faults import FaultKind
from sandbox.history import PastPayment
from sandbox.people import Person
from sandbox.remote.transport import SandboxError
from sandbox.updates import Fate


@pytest.fixture
async def charge_id(client: SandboxClient, ann: Person) -> str:
    [charge_id] = await client.add_past_payments([PastPayment(ann.id, "order-1", 5, (await client.clock()).now)])
    return charge_id


async def test_an_answer_lost_after_the_effect(bot: Bot, client: SandboxClient, ann: Person, charge_id: str) -> None:
    await client.add_fault(FaultKind.ANSWER_LOST, "refundStarPayment")
    with pytest.raises(TelegramNetworkError):
        await bot.refund_star_payment(ann.id, charge_id)
    assert (await client.charges())[0].refunded_at is not None
    with pytest.raises(TelegramBadRequest, match="CHARGE_ALREADY_REFUNDED"):
        await bot.refund_star_payment(ann.id, charge_id)
    assert [call.status for call in await client.calls("refundstarpayment")] == [0, 400]


async def test_a_connection_cut_before_the_effect(bot: Bot, client: SandboxClient, ann: Person, charge_id: str) -> None:
    await client.add_fault(FaultKind.CUT_BEFORE, "refundStarPayment", count=2)
    for _ in range(2):
        with pytest.raises(TelegramNetworkError):
            await bot.refund_star_payment(ann.id, charge_id)
    assert (await client.charges())[0].refunded_at is None
    assert await bot.refund_star_payment(ann.id, charge_id)


async def test_a_lost_answer_to_get_updates_confirms_and_gives_the_batch_again(
    bot: Bot, client: SandboxClient, ann: Person
) -> None:
    for text in ("one", "two"):
        await client.send_text(ann.id, text)
    first, second = await bot.get_updates()
    await client.add_fault(FaultKind.ANSWER_LOST, "getUpdates")
    with pytest.raises(TelegramNetworkError):
        await bot.get_updates(offset=first.update_id + 1)
    assert [update.update_id for update in await bot.get_updates(offset=first.update_id + 1)] == [second.update_id]
    assert [record.fate for record in await client.updates_past()] == [Fate.CONFIRMED]


async def test_a_flood_and_a_server_error(bot: Bot, client: SandboxClient, ann: Person) -> None:
    await client.add_fault(FaultKind.RETRY_AFTER, "sendMessage", retry_after_seconds=3)
    await client.add_fault(FaultKind.SERVER_ERROR, "sendMessage", status=503)
    with pytest.raises(TelegramRetryAfter) as flood:
        await bot.send_message(ann.id, "one")
    assert flood.value.retry_after == 3
    with pytest.raises(TelegramServerError, match="Service Unavailable"):
        await bot.send_message(ann.id, "two")
    await bot.send_message(ann.id, "three")
    assert [message.text() for message in await client.chat(ann.id)] == ["three"]


async def test_a_group_that_has_become_another_chat(bot: Bot, client: SandboxClient) -> None:
    await client.add_fault(FaultKind.MIGRATED, "sendMessage", migrate_to_chat_id=-1009)
    with pytest.raises(TelegramMigrateToChat, match="group chat was upgraded to a supergroup chat") as migrated:
        await bot.send_message(-9, "one")
    assert migrated.value.migrate_to_chat_id == -1009


async def test_a_fault_is_for_its_method_or_for_all(bot: Bot, client: SandboxClient) -> None:
    await client.add_fault(FaultKind.CUT_BEFORE, "sendMessage")
    await bot.get_me()
    await client.add_fault(FaultKind.CUT_BEFORE)
    with pytest.raises(TelegramNetworkError):
        await bot.get_me()
    assert [fault.method for fault in (await client.faults()).calls] == ["sendMessage"]
    await client.clear_faults()
    assert (await client.faults()).calls == []


async def test_a_held_call_waits_to_be_released(bot: Bot, client: SandboxClient, ann: Person) -> None:
    await client.add_fault(FaultKind.HOLD, "sendMessage")
    sending = asyncio.create_task(bot.send_message(ann.id, "hello"))
    await client.wait_until_held()
    assert await client.chat(ann.id) == []
    await client.release_holds()
    assert (await sending).text == "hello"
    assert (await client.faults()).held == 0


async def test_held_call_takes_effect_though_its_caller_is_gone(bot: Bot, client: SandboxClient, ann: Person) -> None:
    await client.add_fault(FaultKind.HOLD, "sendMessage")
    sending = asyncio.create_task(bot.send_message(ann.id, "hello"))
    await client.wait_until_held()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await client.release_holds()
    await client.wait_for_text(ann.id, "hello")


async def test_a_delayed_call_comes_through(bot: Bot, client: SandboxClient, ann: Person) -> None:
    await client.add_fault(FaultKind.DELAY, "sendMessage", delay_seconds=0.01)
    assert (await bot.send_message(ann.id, "hello")).text == "hello"


async def test_an_update_comes_twice_under_two_ids(client: SandboxClient, ann: Person, charge_id: str) -> None:
    await client.double_updates(kind="refunded_payment")
    await client.send_text(ann.id, "once")
    await client.refund_elsewhere(charge_id)
    once, first, second = await client.updates_waiting()
    assert once.update["message"]["text"] == "once"
    assert first.update["message"] == second.update["message"]
    assert second.id == first.id + 1


async def test_updates_are_lost_by_kind(client: SandboxClient, ann: Person, charge_id: str) -> None:
    await client.lose_updates(1, kind="refunded_payment")
    await client.send_text(ann.id, "comes")
    await client.refund_elsewhere(charge_id)
    assert len(await client.updates_waiting()) == 1
    [lost] = await client.updates_past()
    assert (lost.fate, "refunded_payment" in lost.update["message"]) == (Fate.LOST, True)
    assert "refunded_payment" in (await client.chat(ann.id))[-1].message
    await client.lose_updates(2)
    for text in ("gone", "gone", "comes"):
        await client.send_text(ann.id, text)
    assert len(await client.updates_waiting()) == 2


async def test_telegram_is_away_and_comes_back(bot: Bot, client: SandboxClient, ann: Person) -> None:
    poll = asyncio.create_task(bot.get_updates(timeout=30))
    await client.wait_until_polling()
    await client.set_away(away=True)
    with pytest.raises(TelegramNetworkError):
        await poll
    with pytest.raises(TelegramNetworkError):
        await bot.send_message(ann.id, "lost")
    assert await client.chat(ann.id) == []
    await client.send_text(ann.id, "meanwhile")
    await client.set_away(away=False)
    [update] = await bot.get_updates()
    assert update.message is not None
    assert update.message.text == "meanwhile"


async def test_faults_are_bounded(client: SandboxClient) -> None:
    for _ in range(1_000):
        await client.add_fault(FaultKind.DELAY)
    with pytest.raises(SandboxError, match="1000 faults"):
        await client.add_fault(FaultKind.DELAY)


async def test_removed_fault_leaves_the_others(client: SandboxClient) -> None:
    await client.add_fault(FaultKind.SERVER_ERROR, "sendMessage", count=3)
    await client.add_fault(FaultKind.RETRY_AFTER, "sendMessage")
    await client.lose_updates(kind="message")
    await client.double_updates(kind="message")
    await client.remove_fault(FaultKind.SERVER_ERROR, "sendMessage")
    await client.spare_updates(dropped=True, kind="message")
    faults = await client.faults()
    assert [fault.kind for fault in faults.calls] == [FaultKind.RETRY_AFTER]
    assert [fault.dropped for fault in faults.updates] == [False]
