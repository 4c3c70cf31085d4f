"""The payment sheet on the page: goods, price and balance, then the bot's yes or no."""

from collections.abc import Callable
from datetime import UTC, datetime

from nicegui import ui

from sandbox.cards import CardCharge
from sandbox.charges import Charge
from sandbox.checkout import Payment, PaymentState
from sandbox.client import SandboxClient
from sandbox.page.elements import box, button, copies_on_click, day, line, money, stars
from sandbox.page.my_stars import TOP_UP_STARS
from sandbox.page.speaker import Speaker
from sandbox.page.veil import Veil
from sandbox.remote.transport import SandboxError, SandboxTimeoutError

PAYMENT_SECONDS = 30.0

_ENDS = {
    PaymentState.DECLINED: "The bot declined the payment",
    PaymentState.TIMED_OUT: "Timed out",
    PaymentState.BALANCE_TOO_LOW: "Not enough Stars",
    PaymentState.ALREADY_PAID: "Already paid",
    PaymentState.CARD_DECLINED: "The card was not charged",
}
_NOTHING_TAKEN = {
    PaymentState.TIMED_OUT: "The bot did not answer within 10 seconds.",
    PaymentState.BALANCE_TOO_LOW: "Your balance is lower than the price.",
    PaymentState.ALREADY_PAID: "This invoice can be paid once.",
}


_REFUSED = {PaymentState.DECLINED, PaymentState.CARD_DECLINED}


class PaymentSheet(Veil):
    """The payment sheet over a pane. Closing it does not stop a confirmed payment."""

    def __init__(
        self, client: SandboxClient, speaker: Speaker, cover: ui.element, toast: Callable[[str], None]
    ) -> None:
        super().__init__(cover)
        self._client = client
        self._speaker = speaker
        self._toast = toast

    async def ask(
        self,
        title: str,
        description: str,
        price_stars: int,
        *,
        message_id: int | None = None,
        offer: str | None = None,
        renews: bool = False,
    ) -> None:
        """Open the payment sheet for an invoice message, or an offer by link, and let the person confirm."""
        person = await self._client.person(self._speaker.user_id)

        async def confirm() -> None:
            await self.pay(message_id, offer)

        async def top_up() -> None:
            await self._client.set_balance(person.id, person.balance_stars + max(TOP_UP_STARS, price_stars))
            await self.ask(title, description, price_stars, message_id=message_id, offer=offer, renews=renews)

        with self.opened("Confirm your purchase"):
            line(title, "sheet-title")
            line(description, "sheet-text")
            stars(price_stars, "price")
            if renews:
                line("every 30 days, until you cancel", "muted")
            with box("balance muted"):
                line("Your balance")
                stars(person.balance_stars)
            if person.balance_stars >= price_stars:
                button(f"Confirm and pay {price_stars:,} Stars", confirm, "button wide")
            else:
                line(f"You need {price_stars - person.balance_stars:,} more Stars.", "sheet-text")
                button("Get more Stars", top_up, "button wide")

    def show_receipt(self, charge: Charge | CardCharge, title: str) -> None:
        """Open the receipt of a charge: goods, date, method, and the id to copy, for a card the provider's.

        It shows no refund of a payment by card, because that is Stripe's affair and Telegram knows nothing of it.
        """
        with self.opened("Receipt"):
            line(title, "sheet-title")
            if isinstance(charge, Charge):
                transaction_id = charge.id
                stars(charge.stars, "price")
            else:
                transaction_id = charge.provider_id
                line(money(charge.amount, charge.currency), "price")
                line(f"Card •••• {charge.last4}", "sheet-text")
            line(f"Paid {_when(charge.charged_at)}", "muted")
            if isinstance(charge, Charge) and charge.refunded_at is not None:
                line("Refunded", "badge")
            line("Transaction ID", "muted")
            copies_on_click(line(transaction_id, "run is-code charge-id"), lambda: self._toast("Copied to clipboard"))
            button("Close", self.close, "button wide")

    async def pay(self, message_id: int | None, offer: str | None, card: str | None = None) -> None:
        """Pay an invoice message or an offer from the payment sheet, and show the result; `card` is a card's number."""
        with self.opened("Paying") as body:
            ui.spinner(size="48px")
            line("Asking the bot…", "sheet-text")
        try:
            payment = await self._client.pay(
                self._speaker.user_id,
                message_id=message_id,
                chat_id=self._speaker.chat_id,
                offer=offer,
                card=card,
                timeout_seconds=PAYMENT_SECONDS,
            )
        except (SandboxError, SandboxTimeoutError) as refusal:
            self.close()
            self._toast(str(refusal))
            return
        if payment.state is PaymentState.PAID:
            if not body.is_deleted:
                self.close()
        else:
            self._show_end(payment)

    def _show_end(self, payment: Payment) -> None:
        with self.opened(_ENDS[payment.state]):
            ui.icon("block" if payment.state in _REFUSED else "hourglass_disabled", size="48px")
            line(_ENDS[payment.state], "sheet-title")
            line(payment.error_message or _NOTHING_TAKEN[payment.state], "sheet-text refusal")
            line("Nothing was charged.", "muted")
            button("OK", self.close, "button wide")


def _when(moment: datetime) -> str:
    at = moment.astimezone(UTC)
    return f"{day(at)}, {at:%H:%M} UTC"
