"""The checkout: from the Confirm button over the bot's answer to the charge."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from random import Random

from sandbox.cards import CardCharge, Cards, Refusal, read_card
from sandbox.charges import Charge, Charges, Period, period_after
from sandbox.clock import Timer, VirtualClock
from sandbox.errors import ControlError, bad_request
from sandbox.feed import Feed
from sandbox.invoices import STARS, Offer, Offers
from sandbox.people import People, Person, Reach
from sandbox.subscriptions import Subscriptions
from sandbox.updates import QUERY_LIFE, UpdateQueue

ANSWER_WITHIN = timedelta(seconds=10)


class PaymentState(StrEnum):
    """The state of an attempt to pay."""

    ASKING = "asking"
    """The bot has not answered the pre_checkout_query, or has said yes and the card's charge is under way."""
    PAID = "paid"
    DECLINED = "declined"
    """The bot said no; the payer sees `error_message`."""
    TIMED_OUT = "timed_out"
    BALANCE_TOO_LOW = "balance_too_low"
    ALREADY_PAID = "already_paid"
    CARD_DECLINED = "card_declined"
    """The bot said yes, the provider no; the payer sees `error_message`."""


@dataclass(slots=True)
class Payment:
    """One attempt of a person to pay an offer. `query_id` is None when no pre_checkout_query went to the bot."""

    id: int
    user_id: int
    offer_id: str
    state: PaymentState
    query_id: str | None = None
    error_message: str | None = None
    charge_id: str | None = None


class Checkout:
    """All attempts to pay."""

    def __init__(  # noqa: PLR0913, PLR0917 - all parts that a payment touches, wired in one place
        self,
        clock: VirtualClock,
        queue: UpdateQueue,
        people: People,
        offers: Offers,
        charges: Charges,
        cards: Cards,
        subscriptions: Subscriptions,
        feed: Feed,
        random: Random,
    ) -> None:
        self.payments: dict[int, Payment] = {}
        self._clock = clock
        self._queue = queue
        self._people = people
        self._offers = offers
        self._charges = charges
        self._cards = cards
        self._subscriptions = subscriptions
        self._feed = feed
        self._random = random
        self._asking: dict[str, tuple[Payment, Timer]] = {}
        self._card_numbers: dict[int, str] = {}

    def start(self, *, user_id: int, offer_id: str, card: str | None = None) -> Payment:
        """Start an attempt to pay an offer, by its id or link. Raises ControlError without a Pay button for the person.

        `card` is the number on the sheet of an offer that is not in Stars; None: one that Stripe charges.
        """
        person = self._people.person(user_id)
        offer = self._offers.find(offer_id)
        if offer.once and offer.chat_id != user_id:
            raise ControlError("a copy of this invoice has no Pay button: it leads to the bot")
        number = read_card(card)
        payment = Payment(len(self.payments) + 1, user_id, offer.id, PaymentState.ASKING)
        self.payments[payment.id] = payment
        if offer.invoice.currency != STARS:
            self._card_numbers[payment.id] = number
        obstacle = _obstacle(person, offer)
        if obstacle is not None:
            self._end(payment, obstacle)
        else:
            self._ask(payment, person, offer)
        return payment

    def restore(self, payments: list[Payment]) -> None:
        """Restore the attempts to pay of an earlier run; one that waited for the bot has timed out."""
        for payment in payments:
            self.payments[payment.id] = payment
            if payment.state is PaymentState.ASKING:
                payment.state = PaymentState.TIMED_OUT

    def payment(self, *, payment_id: int) -> Payment:
        """Find an attempt to pay; raises ControlError."""
        if payment_id not in self.payments:
            raise ControlError(f"there is no payment {payment_id}")
        return self.payments[payment_id]

    def answer(self, query_id: str, error_message: str | None) -> None:
        """Take the bot's answer to a pre_checkout_query: None is yes.

        Raises ApiError when the query no longer waits.
        """
        if query_id not in self._asking:
            raise bad_request("QUERY_ID_INVALID")
        payment, timer = self._asking.pop(query_id)
        timer.cancel()
        if error_message is not None:
            payment.error_message = error_message
            self._end(payment, PaymentState.DECLINED)
            return
        person, offer = self._people.person(payment.user_id), self._offers.by_id[payment.offer_id]
        obstacle = _obstacle(person, offer)
        if obstacle is not None:
            self._end(payment, obstacle)
        elif payment.id in self._card_numbers:
            self._charge_card(payment, person, offer)
        else:
            payment.charge_id = self._charge(person, offer).id
            self._end(payment, PaymentState.PAID)

    def _ask(self, payment: Payment, person: Person, offer: Offer) -> None:
        query_id = payment.query_id = str(self._random.randrange(1 << 62, 1 << 63))
        deadline = self._clock.now() + ANSWER_WITHIN
        self._asking[query_id] = payment, self._clock.call_at(deadline, lambda: self._time_out(query_id))
        query = {
            "id": query_id,
            "from": person.user(),
            "currency": offer.invoice.currency,
            "total_amount": offer.invoice.total_amount,
            "invoice_payload": offer.invoice.payload,
        }
        self._queue.push("pre_checkout_query", query, QUERY_LIFE)
        self._feed.publish("payment", payment_id=payment.id, state=payment.state)

    def _time_out(self, query_id: str) -> None:
        payment, _ = self._asking.pop(query_id)
        self._end(payment, PaymentState.TIMED_OUT)

    def _charge_card(self, payment: Payment, person: Person, offer: Offer) -> None:
        def on_end(end: CardCharge | Refusal) -> None:
            if isinstance(end, Refusal):
                payment.error_message = end.words
                self._end(payment, PaymentState.CARD_DECLINED)
                return
            offer.paid = True
            payment.charge_id = end.id
            self._end(payment, PaymentState.PAID)

        self._cards.charge(person, offer.invoice, self._card_numbers[payment.id], on_end)

    def _charge(self, person: Person, offer: Offer) -> Charge:
        offer.paid = True
        if person.reach is Reach.NOT_STARTED:
            person.reach = Reach.OPEN
        if not offer.invoice.subscription_period_seconds:
            return self._charges.take(person, offer.invoice)
        ends_at = period_after(self._clock.now())
        charge = self._charges.take(person, offer.invoice, Period(ends_at, None))
        self._subscriptions.begin(charge, offer.invoice, ends_at)
        return charge

    def _end(self, payment: Payment, state: PaymentState) -> None:
        payment.state = state
        self._feed.publish("payment", payment_id=payment.id, state=state)


def _obstacle(person: Person, offer: Offer) -> PaymentState | None:
    """Return the obstacle to a charge, before the bot gets its pre_checkout_query and again after its yes."""
    if offer.once and offer.paid:
        return PaymentState.ALREADY_PAID
    if offer.invoice.currency == STARS and person.balance_stars < offer.invoice.total_amount:
        return PaymentState.BALANCE_TOO_LOW
    return None
