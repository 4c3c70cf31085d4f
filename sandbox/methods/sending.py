"""Bot API methods that send messages and invoices."""

from collections.abc import Callable
from typing import Any

from sandbox.args import Args, leading_integer
from sandbox.errors import bad_request
from sandbox.invoices import check_amounts, check_on_server, read_invoice
from sandbox.keyboards import check_pay_button, read_inline_keyboard
from sandbox.people import Group, Person
from sandbox.shapes import Json, without_none
from sandbox.text.entities import CAPTION_LENGTH_MAX, TEXT_LENGTH_MAX, read_formatted
from sandbox.world import World

_ACTIONS = frozenset(
    {
        "typing",
        "upload_photo",
        "record_video",
        "upload_video",
        "record_voice",
        "upload_voice",
        "upload_document",
        "choose_sticker",
        "find_location",
        "record_video_note",
        "upload_video_note",
    }
)


def send_message(world: World, args: Args) -> Json:
    """SendMessage: send a text."""
    if not args.text("text"):
        raise bad_request("Message text is empty")
    text, entities = read_formatted(args, "text", TEXT_LENGTH_MAX)
    markup = read_inline_keyboard(args)
    chat = world.people.chat_for_bot(args.text("chat_id"))
    if not text:
        raise bad_request("Text must be non-empty")
    return _post(world, args, chat, {"text": text, "entities": entities or None, "reply_markup": markup})


def send_photo(world: World, args: Args) -> Json:
    """SendPhoto: send a photo, uploaded or by a known file_id."""
    photo = world.files.receive(args, "photo").photo()
    return _send_file(world, args, {"photo": photo})


def send_document(world: World, args: Args) -> Json:
    """SendDocument: send a document, uploaded or by a known file_id."""
    document = world.files.receive(args, "document").document()
    return _send_file(world, args, {"document": document})


def send_invoice(world: World, args: Args) -> Json:
    """SendInvoice: send an invoice into a chat."""
    request = read_invoice(args)
    markup = read_inline_keyboard(args)
    chat = world.people.chat_for_bot(args.text("chat_id"))
    check_amounts(request)
    world.people.check_reachable(chat)
    check_on_server(request, world.settings, link=False)
    offer = world.offers.add(request.invoice, chat.id)
    return _post(world, args, chat, {"invoice": request.invoice.shown(), "reply_markup": markup}, offer.id)


def create_invoice_link(world: World, args: Args) -> str:
    """CreateInvoiceLink: return an invoice link for anybody who opens it."""
    request = read_invoice(args)
    check_amounts(request)
    check_on_server(request, world.settings, link=True)
    return world.offers.add(request.invoice).link


def send_chat_action(world: World, args: Args) -> bool:
    """SendChatAction: check the action, and forget it."""
    if args.text("action") not in _ACTIONS:
        raise bad_request("Wrong parameter action in request")
    world.people.check_reachable(world.people.chat_for_bot(args.text("chat_id")))
    return True


def _send_file(world: World, args: Args, content: Json) -> Json:
    caption, entities = read_formatted(args, "caption", CAPTION_LENGTH_MAX)
    markup = read_inline_keyboard(args)
    chat = world.people.chat_for_bot(args.text("chat_id"))
    words = {"caption": caption or None, "caption_entities": entities or None}
    return _post(world, args, chat, {**content, **words, "reply_markup": markup})


def _post(world: World, args: Args, chat: Person | Group, content: Json, offer_id: str | None = None) -> Json:
    replied = _replied(world, args, chat)
    protected = True if args.boolean("protect_content") else None
    check_pay_button(content["reply_markup"], invoice="invoice" in content)
    topic_id = args.integer("message_thread_id") or None
    content = without_none(
        reply_to_message=replied,
        has_protected_content=protected,
        message_thread_id=topic_id,
        is_topic_message=topic_id and True,
        **content,
    )
    return world.messages.post_by_bot(chat, content, offer_id)


def _replied(world: World, args: Args, chat: Person | Group) -> Json | None:
    """Return the message that a sent one replies to; raises ApiError when it is gone, unless the call allows that."""
    parameters = args.json("reply_parameters", "Can't parse reply parameters JSON object") or {}
    if not isinstance(parameters, dict):
        raise bad_request("Object expected as reply parameters")
    message_id = leading_integer(str(parameters.get("message_id", 0))) or args.message_id("reply_to_message_id")
    if not message_id:
        return None
    found = world.messages.chats.get(chat.id, {}).get(message_id)
    if found is not None and not found.deleted:
        return {name: value for name, value in found.message.items() if name != "reply_to_message"}
    if parameters.get("allow_sending_without_reply") or args.boolean("allow_sending_without_reply"):
        return None
    raise bad_request("message to be replied not found")


METHODS: dict[str, Callable[[World, Args], Any]] = {
    "sendMessage": send_message,
    "sendPhoto": send_photo,
    "sendDocument": send_document,
    "sendInvoice": send_invoice,
    "createInvoiceLink": create_invoice_link,
    "sendChatAction": send_chat_action,
}
