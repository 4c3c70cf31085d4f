"""The card sheet on the page, for an invoice that is not in Stars: the number, and the bot's and provider's answer."""

from nicegui import ui

from sandbox.page.elements import button, line, money
from sandbox.page.sheet import PaymentSheet
from sandbox.shapes import Json
from sandbox.stripe.account import DECLINED_CARD, PAID_CARD


class CardSheet:
    """Asks for a card's number over a pane."""

    def __init__(self, sheet: PaymentSheet) -> None:
        self._sheet = sheet

    def ask(self, invoice: Json, *, message_id: int | None = None, offer: str | None = None) -> None:
        """Open the card sheet for an invoice, in a message or by link, and let the person pay."""
        price = money(invoice["total_amount"], invoice["currency"])

        async def confirm() -> None:
            await self._sheet.pay(message_id, offer, card=str(number.value))

        with self._sheet.opened("Pay by card"):
            line(invoice["title"], "sheet-title")
            line(invoice["description"], "sheet-text")
            line(price, "price")
            number = ui.input("Card number", value=_in_fours(PAID_CARD)).props("outlined dense inputmode=numeric")
            line(f"{_in_fours(PAID_CARD)} is paid, {_in_fours(DECLINED_CARD)} is declined.", "muted")
            button(f"Pay {price}", confirm, "button wide")


def _in_fours(number: str) -> str:
    return " ".join(number[index : index + 4] for index in range(0, len(number), 4))
