"""Topics of the admins' forum, and of a private chat (Bot API 9.3)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from aiogram.methods import SendInvoice, SendMessage, SendPhoto

from bot.sending.outbox import Outbox
from bot.sending.pace import Pace
from payments.notices import Admins, Notice, owe
from payments.pause import Pause
from sandbox.people import Person
from sandbox.server import running_sandbox
from sandbox.settings import Settings
from tests.cases.telegram.front import error, fronting
from tests.support.chats import Chats
from tests.support.daemon import TOKEN, running_daemon
from tests.support.refusals import refuse
from tests.support.timings import RESTLESS

TOPIC: Final = 77
GONE: Final = ["message thread not found", "TOPIC_CLOSED", "TOPIC_DELETED"]


async def _sent(chats: Chats, chat_id: int, after: int) -> list[tuple[str, str | None]]:
    """Return what was sent to a chat after so many calls: the method, and the topic."""
    calls = [call for call in await chats.client.calls(after=after) if call.method.lower().startswith("send")]
    return [(call.method, call.args.get("message_thread_id")) for call in calls if int(call.args["chat_id"]) == chat_id]


async def _in_topic(chats: Chats, sender: Person, chat: Mapping[str, Any], text: str) -> list[tuple[str, str | None]]:
    """Let somebody write in the topic, and return what is sent to that chat, and into which topic."""
    seen = len(await chats.client.calls())
    message = {"message_id": 990, "date": int(chats.clock().timestamp()), "from": sender.user(), "chat": chat}
    await chats.push({"message": message | {"text": text, "message_thread_id": TOPIC, "is_topic_message": True}})
    await chats.settle()
    return await _sent(chats, chat["id"], seen)


def _forum(chats: Chats) -> dict[str, Any]:
    return chats.people.desk.chat() | {"is_forum": True}


async def test_an_order_and_its_outcome_are_answered_where_it_was_given(chats: Chats) -> None:
    charge_id = await chats.buy(chats.people.buyer, "month")
    said = await _in_topic(chats, chats.people.admin, _forum(chats), f"/refund {charge_id}")
    assert [topic for _, topic in said] == [str(TOPIC)] * 2


@pytest.mark.parametrize("command", ["/pending", "/report", "/report week", "/history {buyer}", "/retry x", "/help"])
async def test_every_answer_to_an_admin_goes_into_the_topic(chats: Chats, command: str) -> None:
    await chats.buy(chats.people.buyer, "month")
    text = command.format(buyer=chats.people.buyer.id)
    said = await _in_topic(chats, chats.people.admin, _forum(chats), text)
    assert [topic for _, topic in said] == [str(TOPIC)]


@pytest.mark.parametrize(
    "command", ["/buy", "/buy month", "/buy auto", "/status", "/start buy_month", "/help", "hello"]
)
async def test_answer_to_a_buyer_goes_into_the_topic_of_the_private_chat(chats: Chats, command: str) -> None:
    said = await _in_topic(chats, chats.people.buyer, chats.people.buyer.chat(), command)
    assert [topic for _, topic in said] == [str(TOPIC)]


async def test_answer_to_a_button_goes_into_the_buttons_topic(chats: Chats) -> None:
    buyer = chats.people.buyer
    shown = await chats.answer(buyer, "/buy")
    message = shown.message | {"message_thread_id": TOPIC, "is_topic_message": True}
    query = {"id": "1", "from": buyer.user(), "message": message, "chat_instance": "1"}
    for data in ("month", "auto"):
        seen = len(await chats.client.calls())
        await chats.push({"callback_query": query | {"data": data}})
        assert [topic for _, topic in await _sent(chats, buyer.id, seen)] == [str(TOPIC)]


async def test_the_thread_of_a_reply_outside_of_a_forum_is_no_topic(chats: Chats) -> None:
    seen = len(await chats.client.calls())
    await chats.send(chats.people.buyer, text="/buy month", message_thread_id=TOPIC)
    assert [topic for _, topic in await _sent(chats, chats.people.buyer.id, seen)] == [None]


@pytest.mark.parametrize("why", GONE)
async def test_answer_refused_by_a_topic_goes_into_the_chat_itself(chats: Chats, why: str) -> None:
    charge_id = await chats.buy(chats.people.buyer, "month")
    for kind in (SendMessage, SendInvoice, SendPhoto):
        refuse(chats.bot, kind, why, message_thread_id=TOPIC)
    for sender, chat, command, count in (
        (chats.people.buyer, chats.people.buyer.chat(), "/buy month", 1),
        (chats.people.buyer, chats.people.buyer.chat(), "/buy auto", 1),
        (chats.people.admin, _forum(chats), "/report day", 1),
        (chats.people.admin, _forum(chats), f"/refund {charge_id}", 2),
    ):
        said = await _in_topic(chats, sender, chat, command)
        assert [topic for _, topic in said] == [None] * count, command


def _outbox(chats: Chats, topic_id: int | None) -> Outbox:
    return Outbox(
        chats.bot,
        chats.database,
        lambda notice, *_: notice.value,
        chats.clock,
        lambda *_: None,
        Admins(group_id=chats.people.desk.id, topic_id=topic_id),
        Pace(chats.clock, Pause(chats.clock), RESTLESS),
    )


async def _owe(chats: Chats, notice: Notice, topic_id: int | None = None) -> None:
    async with chats.database.transaction() as session:
        await owe(
            session,
            notice,
            event_id=f"{notice}:{topic_id}",
            chat_id=chats.people.desk.id,
            topic_id=topic_id,
            facts={},
            now=chats.clock(),
        )


async def test_alerts_go_into_the_topic_that_the_setting_names_and_answers_where_they_were_asked_for(
    chats: Chats,
) -> None:
    seen = len(await chats.client.calls())
    await _owe(chats, Notice.PARKED)
    await _owe(chats, Notice.REFUND_DONE, TOPIC)
    await _owe(chats, Notice.NOTHING_LEFT)
    outbox = _outbox(chats, 45)
    while await outbox.deliver_once():
        pass
    assert [topic for _, topic in await _sent(chats, chats.people.desk.id, seen)] == ["45", str(TOPIC), None]


@pytest.mark.parametrize("why", GONE)
async def test_no_alert_is_lost_with_its_topic(chats: Chats, why: str) -> None:
    refuse(chats.bot, SendMessage, why, message_thread_id=45)
    await _owe(chats, Notice.PARKED)
    await _outbox(chats, 45).deliver_once()
    said = await chats.said(chats.people.desk.id)
    assert [each.text() for each in said] == ["parked"]


async def test_slow_the_setting_names_the_topic_where_a_daemons_alerts_go(tmp_path: Path, sqlite_url: str) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server, fronting(server.url) as front:
        client = server.client
        ann = await client.add_person("Ann", id=7001, started=True)
        desk = await client.add_group("Desk", member_ids=[ann.id])
        front.rules["sendinvoice"] = lambda *_: error(400, "Bad Request: STARS_INVOICE_INVALID")
        with running_daemon(tmp_path, front.url, sqlite_url, ADMIN_CHAT_ID=f"{desk.id}/45") as daemon:
            await client.wait_until_polling()
            await client.send_text(ann.id, "/buy premium_monthly")
            alert = await client.wait_for(desk.id, lambda each: each.by_bot)
            await daemon.stop()
    assert alert.message["message_thread_id"] == 45
