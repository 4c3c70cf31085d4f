"""Bot API methods about messages in a chat that exist: edits, deletion, callback answers, files."""

from collections.abc import Callable
from typing import Any

from sandbox.args import Args
from sandbox.errors import bad_request
from sandbox.keyboards import check_pay_button, read_inline_keyboard
from sandbox.messages import ChatMessage
from sandbox.shapes import Json
from sandbox.text.entities import CAPTION_LENGTH_MAX, TEXT_LENGTH_MAX, read_formatted
from sandbox.world import World

_GIFTS = ("unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription", "gifts_from_channels")


def edit_message_text(world: World, args: Args) -> Json:
    """EditMessageText: edit a message; without reply_markup the keyboard goes away."""
    if not args.text("text"):
        raise bad_request("Message text is empty")
    text, entities = read_formatted(args, "text", TEXT_LENGTH_MAX)
    markup = read_inline_keyboard(args)
    found = _to_edit(world, args)
    if "text" not in found.message:
        raise bad_request("There is no text in the message to edit")
    if not text:
        raise bad_request("Text must be non-empty")
    check_pay_button(markup, invoice=False)
    return world.messages.edit(found, {"text": text, "entities": entities or None, "reply_markup": markup})


def edit_message_caption(world: World, args: Args) -> Json:
    """EditMessageCaption: edit a caption; without reply_markup the keyboard goes away."""
    caption, entities = read_formatted(args, "caption", CAPTION_LENGTH_MAX)
    markup = read_inline_keyboard(args)
    found = _to_edit(world, args)
    if not {"photo", "document"} & found.message.keys():
        raise bad_request("There is no caption in the message to edit")
    words = {"caption": caption or None, "caption_entities": entities or None}
    return world.messages.edit(found, {**words, "reply_markup": markup})


def edit_message_reply_markup(world: World, args: Args) -> Json:
    """EditMessageReplyMarkup: edit a keyboard."""
    markup = read_inline_keyboard(args)
    found = _to_edit(world, args)
    check_pay_button(markup, invoice=found.offer_id is not None)
    return world.messages.edit(found, {"reply_markup": markup})


def delete_message(world: World, args: Args) -> bool:
    """DeleteMessage: delete a message in a chat."""
    if not args.text("chat_id"):
        raise bad_request("Chat identifier is not specified")
    if not args.message_id():
        raise bad_request("Message identifier is not specified")
    chat = world.people.chat_for_bot(args.text("chat_id"))
    world.messages.delete(world.messages.for_bot(chat, args.message_id(), "message to delete"))
    return True


def answer_callback_query(world: World, args: Args) -> bool:
    """AnswerCallbackQuery: answer a pressed button."""
    show_alert = args.boolean("show_alert")
    query_id = args.text("callback_query_id")
    world.callbacks.answer(query_id, args.text("text"), args.text("url"), show_alert=show_alert)
    return True


def get_chat(world: World, args: Args) -> Json:
    """GetChat: return a chat."""
    chat = world.people.chat_for_bot(args.text("chat_id")).chat()
    gifts = dict.fromkeys(_GIFTS, False)
    return {**chat, "accent_color_id": 0, "max_reaction_count": 11, "accepted_gift_types": gifts}


def get_file(world: World, args: Args) -> Json:
    """GetFile: return any file of the bot's chats, which the bot can fetch for as long as the sandbox runs."""
    return world.files.for_bot(args.text("file_id")).file()


def _to_edit(world: World, args: Args) -> ChatMessage:
    if not args.text("chat_id") and not args.message_id():
        raise bad_request("Message identifier is not specified")
    chat = world.people.chat_for_bot(args.text("chat_id"))
    found = world.messages.for_bot(chat, args.message_id(), "message to edit")
    if not found.by_bot:
        raise bad_request("Message can't be edited")
    return found


METHODS: dict[str, Callable[[World, Args], Any]] = {
    "editMessageText": edit_message_text,
    "editMessageCaption": edit_message_caption,
    "editMessageReplyMarkup": edit_message_reply_markup,
    "deleteMessage": delete_message,
    "answerCallbackQuery": answer_callback_query,
    "getChat": get_chat,
    "getFile": get_file,
}
