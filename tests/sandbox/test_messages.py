"""Messages that the bot sends, edits and deletes in the sandbox, and a person's acts on them."""

import json
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest, TelegramForbiddenError
from aiogram.types import BufferedInputFile, InlineKeyboardButton, InlineKeyboardMarkup, ReplyParameters
from aiohttp import ClientSession

from sandbox.client import SandboxClient
from sandbox.people import Person, Reach
from sandbox.remote.transport import SandboxError
from sandbox.server import SandboxServer

Api = Callable[..., Awaitable[dict[str, Any]]]
PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 320, 200)


def keyboard(**buttons: str) -> InlineKeyboardMarkup:
    """Make a keyboard of callback buttons: data by text."""
    row = [InlineKeyboardButton(text=text, callback_data=data) for text, data in buttons.items()]
    return InlineKeyboardMarkup(inline_keyboard=[row])


async def test_a_command_of_a_person_has_its_entity(bot: Bot, client: SandboxClient, ann: Person) -> None:
    await client.start(ann.id, "buy_pro")
    [update] = await bot.get_updates()
    message = update.message
    assert message is not None
    assert message.from_user is not None
    assert message.entities is not None
    assert (message.text, message.chat.type, message.from_user.username) == ("/start buy_pro", "private", "ann")
    assert (message.entities[0].type, message.entities[0].length) == ("bot_command", 6)
    assert message.from_user.language_code == "en"


async def test_editing_replaces_and_the_story_stays(bot: Bot, client: SandboxClient, ann: Person) -> None:
    sent = await bot.send_message(ann.id, "one", reply_markup=keyboard(Go="go"))
    edited = await bot.edit_message_text("two", chat_id=ann.id, message_id=sent.message_id)
    assert not isinstance(edited, bool)
    assert (edited.text, edited.reply_markup) == ("two", None)
    assert edited.edit_date is not None
    [shown] = await client.chat(ann.id)
    assert (shown.text(), [earlier["text"] for earlier in shown.earlier]) == ("two", ["one"])
    with pytest.raises(TelegramBadRequest, match="message is not modified: specified new message content and reply"):
        await bot.edit_message_text("two", chat_id=ann.id, message_id=sent.message_id)
    marked = await bot.edit_message_reply_markup(
        chat_id=ann.id, message_id=sent.message_id, reply_markup=keyboard(New="new")
    )
    assert not isinstance(marked, bool)
    assert marked.reply_markup is not None
    assert marked.reply_markup.inline_keyboard[0][0].callback_data == "new"


async def test_edit_of_another_kind_of_message_is_refused(bot: Bot, client: SandboxClient, ann: Person) -> None:
    by_person = await client.send_text(ann.id, "mine")
    photo = await bot.send_photo(ann.id, BufferedInputFile(PNG, "chart.png"))
    for message_id, complaint in (
        (by_person.message_id, "message can't be edited"),
        (photo.message_id, "there is no text in the message to edit"),
        (999, "message to edit not found"),
    ):
        with pytest.raises(TelegramBadRequest, match=complaint):
            await bot.edit_message_text("x", chat_id=ann.id, message_id=message_id)


async def test_message_can_be_deleted_within_48_hours(bot: Bot, client: SandboxClient, ann: Person) -> None:
    first, second = await bot.send_message(ann.id, "one"), await bot.send_message(ann.id, "two")
    assert await bot.delete_message(ann.id, first.message_id)
    assert [(one.text(), one.deleted) for one in await client.chat(ann.id)] == [("one", True), ("two", False)]
    with pytest.raises(TelegramBadRequest, match="message to delete not found"):
        await bot.delete_message(ann.id, first.message_id)
    await client.move_clock(49 * 3600)
    with pytest.raises(TelegramBadRequest, match="message can't be deleted for everyone"):
        await bot.delete_message(ann.id, second.message_id)


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("", "Bad Request: message text is empty"),
        ("  \n ", "Bad Request: text must be non-empty"),
        ("x" * 4097, "Bad Request: message is too long"),
        ("😀" * 2049, "Bad Request: message is too long"),
        ("x\ud800", "Bad Request: text must be encoded in UTF-8"),
    ],
)
async def test_texts_that_are_refused(text: str, description: str, api: Api, ann: Person) -> None:
    assert (await api("sendMessage", chat_id=ann.id, text=text))["description"] == description


async def test_white_space_at_the_ends_goes_and_entities_with_it(api: Api, ann: Person) -> None:
    answer = await api("sendMessage", chat_id=ann.id, text=" \n <b> x</b>\n", parse_mode="HTML")
    assert answer["result"]["text"] == "x"
    assert answer["result"]["entities"] == [{"type": "bold", "offset": 0, "length": 1}]


@pytest.mark.parametrize(
    ("button", "description"),
    [
        ({"text": "x", "callback_data": "é" * 33}, "BUTTON_DATA_INVALID"),
        ({"text": "x"}, "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard"),
        ({"callback_data": "x"}, "can't parse inline keyboard button: Can't find field \"text\""),
        ({"text": "x", "pay": True}, "BUTTON_TYPE_INVALID"),
        ({"text": "x", "url": "no url"}, "inline keyboard button URL 'no url' is invalid: wrong HTTP URL"),
        ({"text": "x", "url": 5}, 'can\'t parse inline keyboard button: Field "url" must be of type String'),
        ("x", "can't parse inline keyboard button: InlineKeyboardButton must be an Object"),
    ],
)
async def test_buttons_that_are_refused(button: object, description: str, api: Api, ann: Person) -> None:
    markup = json.dumps({"inline_keyboard": [[button]]})
    answer = await api("sendMessage", chat_id=ann.id, text="x", reply_markup=markup)
    assert answer["description"] == f"Bad Request: {description}"


async def test_pressed_button_reaches_the_bot_and_gets_its_answer(bot: Bot, client: SandboxClient, ann: Person) -> None:
    sent = await bot.send_message(ann.id, "choose", reply_markup=keyboard(Pro="buy:pro", Basic="buy:basic"))
    press = await client.press(ann.id, sent.message_id, text="Basic")
    [update] = await bot.get_updates()
    query = update.callback_query
    assert query is not None
    assert query.message is not None
    assert (query.id, query.from_user.id, query.data) == (press.id, ann.id, "buy:basic")
    assert (query.message.chat.id, query.message.message_id) == (ann.id, sent.message_id)
    assert await bot.answer_callback_query(query.id, text="Sold out", show_alert=True)
    answered = await client.press_answer(press.id)
    assert (answered.text, answered.show_alert) == ("Sold out", True)
    with pytest.raises(SandboxError, match="no such button"):
        await client.press(ann.id, sent.message_id, data="buy:gold")
    assert (await client.press_stale(ann.id, sent.message_id, "buy:gold")).data == "buy:gold"


async def test_a_press_is_answered_within_150_seconds(bot: Bot, client: SandboxClient, ann: Person) -> None:
    sent = await bot.send_message(ann.id, "choose", reply_markup=keyboard(Pro="pro"))
    press = await client.press(ann.id, sent.message_id, data="pro")
    await client.move_clock(150)
    for query_id in (press.id, "1", "nonsense"):
        with pytest.raises(TelegramBadRequest, match="query is too old and response timeout expired"):
            await bot.answer_callback_query(query_id)


async def test_files_are_kept_whole(bot: Bot, client: SandboxClient, ann: Person) -> None:
    csv = b"id,stars\n1,5\n"
    sent = await bot.send_document(
        ann.id, BufferedInputFile(csv, "report.csv"), caption="<b>May</b>", parse_mode="HTML"
    )
    assert sent.document is not None
    assert (sent.document.file_name, sent.document.file_size, sent.caption) == ("report.csv", len(csv), "May")
    assert await client.file(sent.document.file_id) == csv
    photo = await bot.send_photo(ann.id, BufferedInputFile(PNG, "chart.png"))
    assert photo.photo is not None
    assert (photo.photo[0].width, photo.photo[0].height) == (320, 200)
    again = await bot.send_photo(ann.id, photo.photo[0].file_id)
    assert again.photo == photo.photo
    with pytest.raises(SandboxError):
        await client.file("unknown")


async def test_a_file_is_fetched_as_get_file_says(bot: Bot, api: Api, server: SandboxServer, ann: Person) -> None:
    sent = await bot.send_document(ann.id, BufferedInputFile(b"a;b", "report.csv"))
    assert sent.document is not None
    fetched = await bot.download(sent.document.file_id)
    assert fetched is not None
    assert fetched.read() == b"a;b"
    assert (await api("getFile"))["description"] == "Bad Request: file_id not specified"
    assert (await api("getFile", file_id="AgAC"))["description"] == "Bad Request: invalid file_id"
    path = (await bot.get_file(sent.document.file_id)).file_path
    async with ClientSession() as http:
        for wrong, status in ((f"7:x/{path}", 401), (f"{server.token}/{path}x", 404)):
            async with http.get(f"{server.url}/file/bot{wrong}") as answer:
                assert answer.status == status


@pytest.mark.parametrize(
    ("content", "description"),
    [(b"no picture", "IMAGE_PROCESS_FAILED"), (b"", "file must be non-empty")],
)
async def test_files_that_are_refused(content: bytes, description: str, bot: Bot, ann: Person) -> None:
    with pytest.raises(TelegramBadRequest, match=description):
        await bot.send_photo(ann.id, BufferedInputFile(content, "x.png"))


async def test_a_missing_and_an_unknown_file(api: Api, ann: Person) -> None:
    missing = await api("sendDocument", chat_id=ann.id)
    assert missing["description"] == "Bad Request: there is no document in the request"
    unknown = await api("sendPhoto", chat_id=ann.id, photo="AgAC")
    assert unknown["description"] == "Bad Request: wrong file identifier/HTTP URL specified"


async def test_reply_needs_its_message_unless_it_may_do_without(bot: Bot, client: SandboxClient, ann: Person) -> None:
    asked = await client.send_text(ann.id, "why?")
    sent = await bot.send_message(ann.id, "so", reply_parameters=ReplyParameters(message_id=asked.message_id))
    assert sent.reply_to_message is not None
    assert sent.reply_to_message.text == "why?"
    with pytest.raises(TelegramBadRequest, match="message to be replied not found"):
        await bot.send_message(ann.id, "so", reply_parameters=ReplyParameters(message_id=999))
    lenient = ReplyParameters(message_id=999, allow_sending_without_reply=True)
    assert (await bot.send_message(ann.id, "so", reply_parameters=lenient)).reply_to_message is None


@pytest.mark.parametrize(
    ("reach", "complaint"),
    [
        (Reach.BLOCKED, "Forbidden: bot was blocked by the user"),
        (Reach.DEACTIVATED, "Forbidden: user is deactivated"),
        (Reach.NOT_STARTED, "Forbidden: bot can't initiate conversation with a user"),
    ],
)
async def test_message_to_a_blocked_or_deactivated_person_is_refused(
    reach: Reach, complaint: str, bot: Bot, client: SandboxClient, ann: Person
) -> None:
    await client.set_reach(ann.id, reach)
    with pytest.raises(TelegramForbiddenError, match=complaint):
        await bot.send_message(ann.id, "hello")
    with pytest.raises(TelegramForbiddenError, match=complaint):
        await bot.send_chat_action(ann.id, "typing")


async def test_blocking_is_told_and_writing_ends_it(bot: Bot, client: SandboxClient, ann: Person) -> None:
    await client.set_reach(ann.id, Reach.BLOCKED)
    await client.start(ann.id)
    blocked, back, _ = [update.my_chat_member for update in await bot.get_updates()]
    assert blocked is not None
    assert back is not None
    assert (blocked.new_chat_member.status, back.new_chat_member.status) == ("kicked", "member")
    assert (await bot.send_message(ann.id, "hello")).text == "hello"


@pytest.mark.parametrize(
    ("chat_id", "description"), [(None, "chat_id is empty"), (77, "chat not found"), ("@x", "chat not found")]
)
async def test_chats_that_are_not_there(chat_id: object, description: str, api: Api) -> None:
    assert (await api("sendMessage", chat_id=chat_id, text="x"))["description"] == f"Bad Request: {description}"


async def test_get_chat_reads_as_aiogram_wants_it(bot: Bot, ann: Person) -> None:
    assert (await bot.get_chat(ann.id)).first_name == "Ann"
