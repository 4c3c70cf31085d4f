"""The sandbox client's calls about Stars: payments, refunds, the ledger, subscriptions."""

from datetime import datetime

from pydantic import TypeAdapter

from sandbox.actions import ForwardedInvoice
from sandbox.cards import CardCharge
from sandbox.charges import Charge
from sandbox.checkout import Payment, PaymentState
from sandbox.history import PastPayment
from sandbox.invoices import Offer
from sandbox.ledger import OtherRow
from sandbox.remote.transport import NUMBER, ROW, ROWS, Transport
from sandbox.shapes import Json
from sandbox.subscriptions import Subscription

_CARD_CHARGES = TypeAdapter(list[CardCharge])
_CHARGE = TypeAdapter(Charge)
_CHARGES = TypeAdapter(list[Charge])
_FORWARDED = TypeAdapter(ForwardedInvoice)
_IDS = TypeAdapter(list[str])
_OFFER = TypeAdapter(Offer)
_PAYMENT = TypeAdapter(Payment)
_PAYMENTS = TypeAdapter(list[Payment])
_SUBSCRIPTION = TypeAdapter(Subscription)
_SUBSCRIPTIONS = TypeAdapter(list[Subscription])


class MoneyCalls(Transport):
    """The part of SandboxClient about Stars."""

    async def offer(self, offer: str) -> Offer:
        """Ask the sandbox for the invoice behind a link or an offer's id."""
        return await self.call(_OFFER, "offer", offer_id=offer)

    async def start_payment(
        self,
        user_id: int,
        *,
        message_id: int | None = None,
        chat_id: int | None = None,
        offer: str | None = None,
        card: str | None = None,
    ) -> Payment:
        """Have the sandbox press Pay and Confirm, without waiting: on an invoice message or an offer (a link or an id).

        `card` is the number on the sheet of an invoice that is not in Stars; None: one that Stripe charges.
        """
        return await self.call(
            _PAYMENT,
            "start_payment",
            user_id=user_id,
            message_id=message_id,
            chat_id=chat_id,
            offer_id=offer,
            card=card,
        )

    async def payment(self, payment_id: int) -> Payment:
        """Ask the sandbox for the state of an attempt to pay."""
        return await self.call(_PAYMENT, "payment", payment_id=payment_id)

    async def payments(self) -> list[Payment]:
        """Ask the sandbox for all attempts to pay."""
        return await self.call(_PAYMENTS, "payments")

    async def payment_end(self, payment_id: int, *, timeout_seconds: float = 15.0) -> Payment:
        """Wait until an attempt to pay has left the state `asking`; return it."""

        async def ended() -> Payment | None:
            payment = await self.payment(payment_id)
            return None if payment.state is PaymentState.ASKING else payment

        return await self.wait_until(ended, timeout_seconds=timeout_seconds, what="the end of the payment")

    async def pay(
        self,
        user_id: int,
        *,
        message_id: int | None = None,
        chat_id: int | None = None,
        offer: str | None = None,
        card: str | None = None,
        timeout_seconds: float = 15.0,
    ) -> Payment:
        """Have the sandbox press Pay and Confirm, and wait for the end of the payment."""
        payment = await self.start_payment(user_id, message_id=message_id, chat_id=chat_id, offer=offer, card=card)
        return await self.payment_end(payment.id, timeout_seconds=timeout_seconds)

    async def forward_invoice(self, chat_id: int, message_id: int) -> ForwardedInvoice:
        """Have the sandbox forward an invoice: its copy has a Pay button (`offer_id`) or leads to the bot (`url`)."""
        return await self.call(_FORWARDED, "forward_invoice", chat_id=chat_id, message_id=message_id)

    async def charges(self, user_id: int | None = None) -> list[Charge]:
        """Ask the sandbox for all charges in order, or those of a person."""
        return await self.call(_CHARGES, "charges", user_id=user_id)

    async def card_charges(self, user_id: int | None = None) -> list[CardCharge]:
        """Ask the sandbox for all charges by card in order, or those of a person."""
        return await self.call(_CARD_CHARGES, "card_charges", user_id=user_id)

    async def refund_elsewhere(self, charge_id: str) -> Charge:
        """Have the sandbox refund a charge as Telegram's support does."""
        return await self.call(_CHARGE, "refund_elsewhere", charge_id=charge_id)

    async def balance(self) -> Json:
        """Ask the sandbox for the bot's StarAmount."""
        return await self.call(ROW, "balance")

    async def ledger(self, offset: int = 0, limit: int = 1_000) -> list[Json]:
        """Ask the sandbox for ledger rows, oldest first, as getStarTransactions returns them."""
        return await self.call(ROWS, "ledger", offset=offset, limit=limit)

    async def ledger_length(self) -> int:
        """Ask the sandbox for the number of ledger rows."""
        return await self.call(NUMBER, "ledger_length")

    async def add_past_payments(self, payments: list[PastPayment]) -> list[str]:
        """Have the sandbox write past payments into the ledger, without updates; return their charge ids."""
        return await self.call(_IDS, "add_past_payments", payments=payments)

    async def add_other(
        self,
        kind: OtherRow,
        stars: int,
        *,
        user_id: int | None = None,
        payload: str = "",
        nanostars: int = 0,
        at: datetime | None = None,
    ) -> Json:
        """Have the sandbox write a ledger row of another kind; `at` None is now."""
        return await self.call(
            ROW,
            "add_other",
            kind=kind,
            stars=stars,
            user_id=user_id,
            payload=payload,
            nanostars=nanostars,
            at=at,
        )

    async def end_withdrawal(self, row_id: str, *, succeeded: bool) -> Json:
        """Have the sandbox end a pending withdrawal: its state changes in place, and one that failed comes back."""
        return await self.call(ROW, "end_withdrawal", row_id=row_id, succeeded=succeeded)

    async def add_rows(self, rows: list[Json]) -> int:
        """Have the sandbox write any ledger rows as they are; return the number of rows."""
        return await self.call(NUMBER, "add_rows", rows=rows)

    async def add_copies(self, row: Json, count: int) -> int:
        """Have the sandbox write copies of a ledger row, each under an id of its own; return the number of rows."""
        return await self.call(NUMBER, "add_copies", row=row, count=count)

    async def subscriptions(self, user_id: int | None = None) -> list[Subscription]:
        """Ask the sandbox for all subscriptions, or those of a person; the id of one is its first charge's."""
        return await self.call(_SUBSCRIPTIONS, "subscriptions", user_id=user_id)

    async def cancel_subscription(self, subscription_id: str) -> Subscription:
        """Have the sandbox cancel a subscription as its owner."""
        return await self.call(_SUBSCRIPTION, "cancel_subscription", subscription_id=subscription_id)

    async def take_up_again(self, subscription_id: str) -> Subscription:
        """Have the sandbox resume a subscription as its owner."""
        return await self.call(_SUBSCRIPTION, "take_up_again", subscription_id=subscription_id)

    async def renew(self, subscription_id: str) -> Subscription:
        """Have the sandbox renew a subscription now."""
        return await self.call(_SUBSCRIPTION, "renew", subscription_id=subscription_id)

    async def fail_renewals(self, subscription_id: str, count: int = 1) -> Subscription:
        """Have the sandbox make the next renewals of a subscription fail."""
        return await self.call(_SUBSCRIPTION, "fail_renewals", subscription_id=subscription_id, count=count)
