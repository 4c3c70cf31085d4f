"""Sales by card in a shop under faults: Stripe gives back parts, a bank sends refunds back or wins a dispute."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from db.states import STRIPE, EventOutcome, EventStatus
from db.tables import StripeEvent
from payments import waiting
from payments.errors import RefundRefusedError
from payments.methods import CARDS
from payments.refunds import requests
from payments.sale.catalog import order_of
from payments.telegram import invoice_of
from sandbox.checkout import PaymentState
from sandbox.settings import PROVIDER_TOKEN
from sandbox.stripe.account import Account
from sandbox.stripe.errors import StripeRefusalError
from tests.scenarios.books import Books
from tests.support.money import plan

if TYPE_CHECKING:
    from tests.scenarios.faulty_shop import Shop

PART: Final = 100
"""The amounts that Stripe's dashboard refunds at once, in cents."""


class CardSales:
    """The acts of buyers by card, the seller at Stripe and the bank, and the invariants that follow."""

    def __init__(self, shop: "Shop", account: Account) -> None:
        self._shop = shop
        self._account = account

    async def pay(self, buyer: int) -> None:
        """Let a buyer pay a month by card."""
        person, sold = self._shop.buyers[buyer], plan("month")
        order = order_of(sold, person.id, "USD")
        invoice = invoice_of(sold, person.id, order, self._shop.life.signer, PROVIDER_TOKEN)
        sent = await self._shop.steady(invoice)
        # The next update to be dropped is a payment in Stars: no ledger tells of a lost payment by card.
        await self._shop.client.spare_updates(dropped=True, kind="successful_payment")
        payment = await self._shop.client.start_payment(person.id, message_id=sent.message_id)
        while (await self._shop.client.payment(payment.id)).state is PaymentState.ASKING:
            await self._shop.take(lambda _: None, is_handled=False)

    async def request_refund(self, which: int) -> None:
        """Let an admin ask for the refund of a charge."""
        if (charge_id := await self._pick(which)) is None:
            return
        with suppress(RefundRefusedError):
            async with self._shop.life.database.transaction() as session:
                await requests.request_refund(
                    session,
                    CARDS.event_id(charge_id),
                    reason="as agreed",
                    requested_by="telegram:1",
                    reply_chat_id=self._shop.admin_id,
                    now=self._shop.life.clock(),
                )

    async def give_back(self, which: int, amount: int | None) -> None:
        """Let the seller give back a part, or all that is left, in Stripe's dashboard."""
        if (charge_id := await self._pick(which)) is not None:
            with suppress(StripeRefusalError):
                self._account.give_back(charge_id, amount)

    async def send_back(self, which: int) -> None:
        """Let the buyer's bank send a refund back."""
        if (charge_id := await self._pick(which)) is not None:
            out = [each["id"] for each in self._account.refunds(charge_id) if each["status"] == "succeeded"]
            if out:
                self._account.fail_refund(out[which % len(out)])

    async def lose_dispute(self, which: int) -> None:
        """Let the buyer's bank take what is left of a charge."""
        if (charge_id := await self._pick(which)) is not None:
            left = self._account.objects[charge_id]["amount"] - self._account.refunded(charge_id)
            if left:
                with suppress(StripeRefusalError):
                    self._account.close_dispute(self._account.open_dispute(charge_id, left), "lost")

    async def are_on_record(self) -> bool:
        """Tell whether every charge has its row: Stripe tells of a payment by Telegram only as something to look at."""
        rows = {each.event_id for each in (await self._shop.books()).events}
        return {CARDS.event_id(each.provider_id) for each in await self._shop.client.card_charges()} <= rows

    async def retry_parked(self) -> None:
        """Let an admin take up again what is parked."""
        parked = [
            each.event_id for each in self._of_cards(await self._shop.books()) if each.outcome == EventOutcome.PARKED
        ]
        for event_id in parked:
            async with self._shop.life.database.transaction() as session:
                await waiting.retry(session, event_id, self._shop.life.clock())

    async def _way_of(self, provider_id: str) -> str:
        """Say which way the update of a charge went that is not on record."""
        updates = [*await self._shop.client.updates_past(), *await self._shop.client.updates_waiting()]
        ways = [f"{each.id} of {each.created_at}: {each.fate}" for each in updates if provider_id in str(each.update)]
        return f"{provider_id} is not on record at {self._shop.life.clock()}: {ways}"

    async def _pick(self, which: int) -> str | None:
        found = await self._shop.client.card_charges()
        return found[which % len(found)].provider_id if found else None

    @staticmethod
    def _of_cards(books: Books) -> Sequence[StripeEvent]:
        return [each for each in books.events if each.payment_method == STRIPE]

    def check(self, books: Books) -> None:
        """Assert that no refund is on record as made that Stripe has not made."""
        for charge in self._of_cards(books):
            if charge.refund_of is None:
                charge_id = CARDS.provider_charge_id(charge.event_id)
                made = sum(int(each["amount"]) for each in self._account.refunds(charge_id)) + self._lost(charge_id)
                done = [each for each in _done(books, charge) if each.event_type != CARDS.refund_failed_type]
                assert sum(each.amount_cents for each in done) <= made

    async def check_end(self, books: Books) -> None:
        """Assert that the books of every charge end as Stripe's do, and access with the whole of the money."""
        rows = {each.event_id: each for each in self._of_cards(books)}
        for each in rows.values():
            is_replaced = each.outcome == EventOutcome.REPLACED
            # Stripe refuses to give back what the bank has taken, even when an earlier refund of it came back.
            is_refused = each.outcome == EventOutcome.PARKED and self._lost(
                CARDS.provider_charge_id(each.refund_of or "")
            )
            is_left = (is_replaced or is_refused) and each.webhook_timestamp is None
            assert each.status == EventStatus.PROCESSED or is_left, each.event_id
        for sold in await self._shop.client.card_charges():
            assert CARDS.event_id(sold.provider_id) in rows, await self._way_of(sold.provider_id)
            charge = rows[CARDS.event_id(sold.provider_id)]
            done = _done(books, charge)
            out = self._account.refunded(sold.provider_id) + self._lost(sold.provider_id)
            assert sum(map(_signed, done)) == out <= sold.amount
            if charge.outcome == EventOutcome.GRANTED and not any(
                each.revoked_at for each in books.grants_of(charge.event_id)
            ):
                # Stripe's times are whole seconds: a refund may have returned in the second of the next one.
                assert _peak(done, _at_stripe, returns_first=True) < sold.amount
            else:
                # The desk may hear of a return after the next refund: in the order of our rows more than the charge can
                # then seem to be out, never less.
                assert max(_peak(done, _at_stripe), _peak(done, lambda row: row.processed_at)) >= sold.amount

    def _lost(self, charge_id: str) -> int:
        lost = (each for each in self._account.disputes(charge_id) if each["status"] == "lost")
        return sum(int(each["amount"]) for each in lost)


def _done(books: Books, charge: StripeEvent) -> Sequence[StripeEvent]:
    refunds = (each for each in books.events if each.refund_of == charge.event_id)
    return [each for each in refunds if each.status == EventStatus.PROCESSED]


def _signed(row: StripeEvent) -> int:
    return -row.amount_cents if row.event_type == CARDS.refund_failed_type else row.amount_cents


def _at_stripe(row: StripeEvent) -> datetime | None:
    return row.webhook_timestamp or row.processed_at


def _peak(
    rows: Sequence[StripeEvent], at: Callable[[StripeEvent], datetime | None], *, returns_first: bool = False
) -> int:
    """Return how much of a charge was out at most, as our rows tell it in an order of time.

    `returns_first`: of one moment, a refund that returned comes before the others.
    """
    in_order = sorted(rows, key=lambda row: (str(at(row)), (_signed(row) < 0) is not returns_first))
    return max(accumulate(map(_signed, in_order), initial=0))
