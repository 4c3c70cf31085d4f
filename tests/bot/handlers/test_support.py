from typing import Any

import pytest

from tests.support.chats import SUPPORT_CONTACT, Chats

UNKNOWN_TEXT = "This bot understands commands only. Send /help to see them."


async def test_start_welcomes(chats: Chats) -> None:
    for text in ("/start", "/start something", "/start@sandbox_bot"):
        told = await chats.answer(chats.people.buyer, text)
        assert told.text().startswith("Welcome!")


async def test_help_names_the_admins_commands_to_admins_only(chats: Chats) -> None:
    everybodys = (await chats.answer(chats.people.buyer, "/help")).text()
    admins = (await chats.answer(chats.people.admin, "/help")).text()
    assert admins.startswith(everybodys)
    assert "/refund" in admins
    assert "/refund" not in everybodys


async def test_terms_are_there(chats: Chats) -> None:
    assert (await chats.answer(chats.people.buyer, "/terms")).text().startswith("Terms of sale")


async def test_privacy_tells_what_is_kept_and_how_to_be_erased(chats: Chats) -> None:
    told = (await chats.answer(chats.people.buyer, "/privacy")).text()
    assert told.startswith("What is kept about you")
    assert f"say your Telegram id: {chats.people.buyer.id}. " in told


@pytest.mark.criterion("S5")
@pytest.mark.parametrize("command", ["/paysupport", "/terms", "/privacy"])
async def test_the_sellers_contact_is_shown_as_it_is_and_without_one_none_is_promised(
    chats: Chats, command: str
) -> None:
    told = (await chats.answer(chats.people.buyer, command)).text()
    assert f"\n\nTo reach the seller: {SUPPORT_CONTACT}" in told
    chats._dispatcher["support_contact"] = None
    assert "To reach the seller" not in (await chats.answer(chats.people.buyer, command)).text()


async def test_paysupport_gives_what_the_seller_will_ask_for(chats: Chats) -> None:
    buyer = chats.people.buyer
    before = (await chats.answer(buyer, "/paysupport")).text()
    assert before.endswith("There is no payment of yours on record yet.")
    charge_ids = [await chats.buy(buyer, "month") for _ in range(4)]
    told = (await chats.answer(buyer, "/paysupport")).text()
    assert f"Your Telegram id: {buyer.id}" in told
    assert [charge_id for charge_id in charge_ids if charge_id in told] == charge_ids[1:]


@pytest.mark.parametrize(
    "content",
    [
        {"text": "hello"},
        {"text": "<b>hello</b> &amp;"},
        {
            "sticker": {"file_id": "f", "file_unique_id": "u", "type": "regular", "width": 1, "height": 1}
            | {"is_animated": False, "is_video": False}
        },
        {"photo": [{"file_id": "f", "file_unique_id": "u", "width": 1, "height": 1}], "caption": "look"},
        {"photo": [{"file_id": "f", "file_unique_id": "u", "width": 1, "height": 1}], "caption": "/nonsense"},
    ],
    ids=["text", "markup", "sticker", "photo", "command as a caption"],
)
async def test_message_without_a_command_gets_a_polite_answer(chats: Chats, content: dict[str, Any]) -> None:
    [told] = await chats.send(chats.people.buyer, **content)
    assert told.text() == UNKNOWN_TEXT


async def test_service_messages_get_no_answer(chats: Chats) -> None:
    contents: tuple[dict[str, Any], ...] = (
        {"pinned_message": {"message_id": 1, "date": 0, "chat": {"id": 1, "type": "private"}}},
        {"message_auto_delete_timer_changed": {"message_auto_delete_time": 60}},
        {"write_access_allowed": {}},
        {"a_field_of_next_year": {}},
        {},
    )
    for content in contents:
        assert await chats.send(chats.people.buyer, **content) == []


async def test_edited_channel_and_business_messages_get_no_answer(chats: Chats) -> None:
    for kind in ("edited_message", "channel_post", "business_message"):
        buyer = chats.people.buyer
        message = {"message_id": 1, "date": 1, "from": buyer.user(), "chat": buyer.chat(), "text": "/status"}
        await chats.push({kind: message})
        assert await chats.said(buyer.id) == []


async def test_a_language_without_words_is_answered_in_english(chats: Chats) -> None:
    await chats.client.rename(chats.people.buyer.id, "Ann", language_code="tlh")
    assert (await chats.answer(chats.people.buyer, "/start")).text().startswith("Welcome!")


async def test_an_admin_who_presses_start_gets_the_admins_menu(chats: Chats) -> None:
    for person, has_it in ((chats.people.admin, True), (chats.people.buyer, False)):
        await chats.answer(person, "/start")
        menu = await chats.client.commands(person.id)
        assert ("refund" in [command["command"] for command in menu]) is has_it
