"""Admins' commands and their look-alikes; rate limits in groups; groups of others."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import pytest
from sqlalchemy import select

from bot.handlers.rate_limit import BURST
from db.tables import StripeEvent
from sandbox.shapes import ANONYMOUS_ADMIN
from tests.support.chats import Chats

INLINE_BOT: Final = {"id": 9_000_001, "is_bot": True, "first_name": "Helper", "username": "helper_bot"}
CHANNEL: Final = {"id": -1_001_900_000_001, "title": "News", "type": "channel"}
GUEST: Final = {"id": 9_000_002, "is_bot": False, "first_name": "Ann"}
NOT_AN_ORDER: Final[Mapping[str, dict[str, Any]]] = {
    "written by an inline bot": {"via_bot": INLINE_BOT},
    "sent by a business bot": {"sender_business_bot": INLINE_BOT},
    "a guest bot's": {"guest_bot_caller_user": GUEST},
    "forwarded": {"forward_origin": {"type": "hidden_user", "date": 1, "sender_user_name": "Ann"}},
    "in a channel's name": {"sender_chat": CHANNEL},
}
COMMANDS: Final = ("/refund {charge}", "/retry {charge}", "/pending", "/report", "/history {buyer}")


async def _refunds(chats: Chats) -> list[StripeEvent]:
    async with chats.database.reading() as session:
        return list(await session.scalars(select(StripeEvent).where(StripeEvent.refund_of.is_not(None))))


async def _in_group(chats: Chats, chat: dict[str, Any], **content: Any) -> list[str]:
    """Let a message with any content come from the admin in a group, and return what the bot says there."""
    before = len(await chats.said(chat["id"]))
    message = {"message_id": 990, "date": 1, "from": chats.people.admin.user(), "chat": chat}
    await chats.push({"message": message | content})
    return [each.text() for each in (await chats.said(chat["id"]))[before:]]


@pytest.mark.parametrize("how", NOT_AN_ORDER)
async def test_command_not_typed_by_an_admin_is_ignored(chats: Chats, how: str) -> None:
    charge_id = await chats.buy(chats.people.buyer, "month")
    for command in COMMANDS:
        text = command.format(charge=charge_id, buyer=chats.people.buyer.id)
        told = await chats.send(chats.people.admin, text=text, **NOT_AN_ORDER[how])
        assert not any("⭐" in each.text() for each in told), command
        assert await _in_group(chats, chats.people.desk.chat(), text=text, **NOT_AN_ORDER[how]) == []
    await chats.settle()
    assert await _refunds(chats) == []


@pytest.mark.parametrize("picture", ["photo", "document"])
async def test_command_in_a_caption_is_ignored(chats: Chats, picture: str) -> None:
    charge_id = await chats.buy(chats.people.buyer, "month")
    file = {"file_id": "f", "file_unique_id": "u", "width": 1, "height": 1}
    content = {picture: [file] if picture == "photo" else file, "caption": f"/refund {charge_id}"}
    await chats.send(chats.people.admin, **content)
    assert await _in_group(chats, chats.people.desk.chat(), **content) == []
    assert await _refunds(chats) == []


@pytest.mark.parametrize("kind", ["edited_message", "channel_post", "business_message"])
async def test_an_update_of_another_kind_is_no_order(chats: Chats, kind: str) -> None:
    charge_id = await chats.buy(chats.people.buyer, "month")
    admin = chats.people.admin
    message = {"message_id": 9, "date": 1, "from": admin.user(), "chat": admin.chat(), "text": f"/refund {charge_id}"}
    await chats.push({kind: message})
    assert await _refunds(chats) == []


async def test_anonymous_admins_of_other_groups_share_no_allowance_with_ours(chats: Chats) -> None:
    chats.stop_clock()
    others = {"id": -1_001_800_000_001, "title": "Others", "type": "supergroup"}
    for n in range(BURST + 5):
        message = {"message_id": n + 1, "date": 1, "from": ANONYMOUS_ADMIN, "sender_chat": others, "chat": others}
        await chats.push({"message": message | {"text": "/help"}})
    [told] = await chats.say(chats.people.admin, "/pending", group=chats.people.desk, anonymous=True)
    assert told.text().startswith("You write as the group")


async def test_message_in_a_foreign_group_takes_no_allowance(chats: Chats) -> None:
    chats.stop_clock()
    for _ in range(BURST + 5):
        assert await chats.say(chats.people.buyer, "/buy", group=chats.people.elsewhere) == []
    assert "invoice" in (await chats.answer(chats.people.buyer, "/buy month")).message


async def test_a_group_of_others_that_calls_the_bot_by_name_hears_one_sentence_a_day(chats: Chats) -> None:
    buyer, elsewhere = chats.people.buyer, chats.people.elsewhere
    [told] = await chats.say(buyer, "/buy@Sandbox_Bot month", group=elsewhere)
    assert told.text() == "I only talk in private chats: write to me at @sandbox_bot."
    for text in ("/buy@sandbox_bot", "/start@sandbox_bot", "/refund@sandbox_bot x"):
        assert await chats.say(chats.people.admin, text, group=elsewhere) == []
    await chats.client.move_clock(timedelta(days=1).total_seconds())
    assert await chats.say(buyer, "/buy@another_bot", group=elsewhere) == []
    assert len(await chats.say(buyer, "/buy@sandbox_bot", group=elsewhere)) == 1


async def test_a_picture_whose_caption_calls_the_bot_hears_it_as_well(chats: Chats, log: list[str]) -> None:
    others, file = chats.people.elsewhere.chat(), {"file_id": "f", "file_unique_id": "u", "width": 1, "height": 1}
    for caption in ("/", "/buy", "/buy@another_bot", "/buy@sandbox_bot month"):
        before = await chats.said(others["id"])
        told = await _in_group(chats, others, photo=[file], caption=caption)
        assert len(told) == ("sandbox_bot" in caption), before
    assert [line for line in log if line.startswith(("ERROR", "WARNING"))] == []


async def test_simultaneous_calls_in_a_foreign_group_get_one_sentence(chats: Chats) -> None:
    others = chats.people.elsewhere
    said = [
        chats.write_through(chats.bot, each, "/buy@sandbox_bot", others)
        for each in (chats.people.buyer, chats.people.other)
    ]
    await asyncio.gather(*said)
    assert len(await chats.said(others.id)) == 1


async def test_each_group_of_others_hears_a_sentence_of_its_own_and_the_day_begins_with_it(chats: Chats) -> None:
    buyer, elsewhere = chats.people.buyer, chats.people.elsewhere
    other = await chats.client.add_group("Others", member_ids=[buyer.id], admin_ids=[])
    chats.stop_clock()
    for group in (elsewhere, other):
        assert len(await chats.say(buyer, "/buy@sandbox_bot", group=group)) == 1
    for group in (elsewhere, other):
        assert await chats.say(buyer, "/buy@sandbox_bot", group=group) == []
