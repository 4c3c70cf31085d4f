"""Messages on the page as the person sees them: bubble, service line, invoice card, picture or file, and buttons."""

from dataclasses import dataclass
from urllib.parse import quote

from nicegui import ui

from sandbox.cards import CardCharge
from sandbox.charges import Charge
from sandbox.invoices import STARS
from sandbox.messages import ChatMessage
from sandbox.page.elements import box, clock_time, day, line, moment, money, price
from sandbox.page.hands import Hands
from sandbox.page.rich_text import show_text
from sandbox.shapes import Json

_SERVICE = ("successful_payment", "refunded_payment")


@dataclass(frozen=True, slots=True)
class Sender:
    """The sender's name above a group's message, and the number of its colour."""

    name: str
    colour: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A message, with all that its look on the page depends on.

    `opens_day`: a day's first message has the date above it. `charge`: the payment of its invoice that is payable once,
    or that it reports. `is_mine`: the person of this pane wrote it; `sender`: another member of the group wrote it.
    """

    found: ChatMessage
    opens_day: bool
    charge: Charge | CardCharge | None
    is_mine: bool
    sender: Sender | None


def show_message(shown: Shown, bot_name: str, hands: Hands) -> None:
    """Show a message in the present container of the page."""
    message = shown.found.message
    if shown.opens_day:
        line(day(moment(message["date"])), "pill")
    kind = next((name for name in _SERVICE if name in message), None)
    if kind is not None:
        _show_service(kind, message[kind], shown.charge, bot_name, hands)
        return
    with box(f"message {'from-me' if shown.is_mine else 'from-other'}"):
        edited = "edit_date" in message
        with box("bubble edited" if edited else "bubble"):
            if shown.sender is not None:
                line(shown.sender.name, f"sender ink-{shown.sender.colour}")
            _show_content(message, hands)
            line(("edited " if edited else "") + clock_time(moment(message["date"])), "time")
        _show_keyboard(shown, hands)


def _show_service(kind: str, payment: Json, charge: Charge | CardCharge | None, bot_name: str, hands: Hands) -> None:
    with box("pill service") as pill:
        line("You paid" if kind == "successful_payment" else "Refund:")
        price(payment["total_amount"], payment["currency"])
        line(f"to {bot_name}" if kind == "successful_payment" else f"from {bot_name}")
    if charge is not None:
        pill.classes("link").on("click", lambda: hands.sheet.show_receipt(charge, "Payment"), args=[])
        pill.props["title"] = "Receipt"


def _show_content(message: Json, hands: Hands) -> None:
    if "photo" in message:
        ui.image(f"/files/picture/{message['photo'][-1]['file_id']}").classes("picture")
    if "document" in message:
        _show_document(message["document"])
    if "invoice" in message:
        line(message["invoice"]["title"], "invoice-title")
        line(message["invoice"]["description"], "invoice-text")
        return
    text = message.get("text") or message.get("caption")
    if text is not None:
        with box("text"):
            show_text(text, message.get("entities") or message.get("caption_entities") or [], hands)
    elif not {"photo", "document"} & message.keys():
        line("This kind of message is not shown here.", "muted")


def _show_document(document: Json) -> None:
    name = document.get("file_name") or "file"
    with box("document", "a") as link:
        ui.icon("description", size="32px")
        with box("document-facts"):
            line(name, "document-name")
            line(f"{document['file_size']:,} bytes", "muted")
    link.props["href"] = f"/files/document/{document['file_id']}/{quote(name, safe='')}"
    link.props["download"] = name


def _show_keyboard(shown: Shown, hands: Hands) -> None:
    rows: list[list[Json]] = shown.found.message.get("reply_markup", {}).get("inline_keyboard", [])
    invoice = shown.found.message.get("invoice")
    if invoice is not None and not rows:
        amount, currency = invoice["total_amount"], invoice["currency"]
        rows = [
            [{"text": f"Pay {amount:,} Stars" if currency == STARS else f"Pay {money(amount, currency)}", "pay": True}]
        ]
    with box("keyboard"):
        for row in rows:
            with box("key-row"):
                for key in row:
                    _show_key(key, shown, hands)


def _show_key(key: Json, shown: Shown, hands: Hands) -> None:
    text, icon = key["text"], None

    async def press() -> None:
        made.classes("waits")
        await hands.press(shown.found.message_id, key["callback_data"])
        if not made.is_deleted:
            made.classes(remove="waits")

    made = box("key", "button").props("type=button")
    if "callback_data" in key:
        made.on("click", press, args=[])
    elif "pay" in key and shown.charge is not None:
        charge, title = shown.charge, shown.found.message["invoice"]["title"]
        text, icon = "Receipt", "receipt_long"
        made.on("click", lambda: hands.sheet.show_receipt(charge, title), args=[])
    elif "pay" in key:
        made.classes("pays").on("click", lambda: hands.pay(shown.found), args=[])
    elif "url" in key:
        icon = None if hands.is_within(key["url"]) else "open_in_new"
        made.on("click", lambda: hands.open_address(key["url"]), args=[])
    elif "copy_text" in key:
        icon = "content_copy"
        made.on("click", lambda: _copy(key["copy_text"]["text"], hands), args=[])
    else:
        made.props("disabled title='This kind of button does nothing here'")
    with made:
        line(text)
        if icon is not None:
            ui.icon(icon).classes("key-icon")


def _copy(text: str, hands: Hands) -> None:
    ui.clipboard.write(text)
    hands.copied()
