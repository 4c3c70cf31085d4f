"""Buttons that are tapped twice, or whose message is gone: the answer says that the work is done."""

import pytest
from aiogram.methods import EditMessageText

from sandbox.messages import ChatMessage
from tests.cases.telegram.history import record_charges
from tests.support.chats import Chats
from tests.support.refusals import refuse
from tests.support.subscribers import Subscriber

STALE = "This button is out of date. Send the command again."
QUESTION = "Cancel Premium, renewed monthly"
GONE = ["message to edit not found", "message can't be edited", "MESSAGE_ID_INVALID"]


@pytest.fixture
async def ann(chats: Chats) -> Subscriber:
    ann = Subscriber(chats, chats.people.buyer)
    await ann.subscribe()
    return ann


async def _question(ann: Subscriber) -> ChatMessage:
    await ann.press(QUESTION)
    return (await ann.chats.said(ann.person.id))[-1]


async def _told_since(ann: Subscriber, message: ChatMessage) -> list[str]:
    return [each.text() for each in await ann.chats.said(ann.person.id, after=message.message_id)]


@pytest.mark.parametrize("wish", ["keep", "cancel_now"])
async def test_the_second_tap_is_no_error(chats: Chats, ann: Subscriber, log: list[str], wish: str) -> None:
    question = await _question(ann)
    row = await ann.row()
    log.clear()
    for _ in range(2):
        await chats.client.press_stale(ann.person.id, question.message_id, f"sub:{wish}:{row.id}")
    await chats.serve()
    assert await _told_since(ann, question) == []
    assert [line for line in log if line.startswith("ERROR")] == []


@pytest.mark.parametrize("wish", ["cancel_now", "cancel", "keep"])
async def test_old_button_of_a_cancelled_subscription_answers_that_it_is_cancelled(
    chats: Chats, ann: Subscriber, wish: str
) -> None:
    question = await _question(ann)
    row = await ann.row()
    await chats.press(ann.person, question, text="Yes, cancel it")
    await chats.settle()
    press = await chats.press_altered(ann.person, question, f"sub:{wish}:{row.id}")
    assert (press.text, press.show_alert) == ("It is cancelled already.", False)


async def test_second_tap_on_resume_answers_that_it_renews_already(chats: Chats, ann: Subscriber) -> None:
    await chats.press(ann.person, await _question(ann), text="Yes, cancel it")
    await chats.settle()
    await ann.press("Take up Premium, renewed monthly again")
    await chats.settle()
    await chats.client.take_up_again((await ann.row()).first_charge_id)
    await chats.settle()
    shown = (await chats.said(ann.person.id))[-1]
    press = await chats.press_altered(ann.person, shown, f"sub:take_up:{(await ann.row()).id}")
    assert (press.text, press.show_alert) == ("It renews again already.", False)
    assert await _told_since(ann, shown) == []


@pytest.mark.parametrize("why", GONE)
async def test_cancelled_renewal_is_told_when_its_question_is_gone(chats: Chats, ann: Subscriber, why: str) -> None:
    question = await _question(ann)
    refuse(chats.bot, EditMessageText, why)
    await chats.press(ann.person, question, text="Yes, cancel it")
    assert (await ann.row()).renewal_wanted == "canceled"
    [told] = await _told_since(ann, question)
    assert told.startswith("Premium, renewed monthly is being cancelled.")


@pytest.mark.parametrize("message", ["none", "inaccessible"])
async def test_a_button_of_a_message_that_telegram_does_not_show_any_more_works(
    chats: Chats, ann: Subscriber, message: str
) -> None:
    question = await _question(ann)
    row = await ann.row()
    query = {"id": "1", "from": ann.person.user(), "chat_instance": "1", "data": f"sub:cancel_now:{row.id}"}
    shown = {"chat": ann.person.chat(), "message_id": question.message_id, "date": 0}
    await chats.push({"callback_query": query | ({} if message == "none" else {"message": shown})})
    assert (await ann.row()).renewal_wanted == "canceled"
    told = (await chats.said(ann.person.id))[-1]
    assert told.text().startswith("Premium, renewed monthly is being cancelled.")
    assert (told.message_id == question.message_id) is (message == "inaccessible")


@pytest.mark.parametrize("why", GONE)
async def test_a_page_of_a_history_is_turned_though_its_message_is_gone(chats: Chats, log: list[str], why: str) -> None:
    buyer = chats.people.buyer
    await record_charges(chats, buyer, 6)
    shown = await chats.answer(buyer, "/history")
    refuse(chats.bot, EditMessageText, why)
    await chats.press(buyer, shown, text="Older ▶")
    [turned] = await chats.said(buyer.id, after=shown.message_id)
    assert turned.text().endswith("Page 2 of 2")
    assert [line for line in log if line.startswith("ERROR")] == []


async def test_a_button_in_a_group_of_others_shows_no_history_and_changes_nothing(
    chats: Chats, ann: Subscriber
) -> None:
    admin, elsewhere = chats.people.admin, chats.people.elsewhere
    row = await ann.row()
    sent = await chats.bot.send_message(elsewhere.id, "Hello")
    shown = {"chat": elsewhere.chat(), "message_id": sent.message_id, "date": 1, "text": "Hello"}
    for person, data in (
        (admin, f"history:{ann.person.id}:1:1"),
        (ann.person, f"history:{ann.person.id}:1:0"),
        (ann.person, f"sub:cancel_now:{row.id}"),
        (ann.person, f"sub:cancel:{row.id}"),
    ):
        query = {"id": "1", "from": person.user(), "chat_instance": "1", "data": data, "message": shown}
        await chats.push({"callback_query": query})
    assert [each.text() for each in await chats.said(elsewhere.id)] == ["Hello"]
    assert (await ann.row()).renewal_wanted is None
