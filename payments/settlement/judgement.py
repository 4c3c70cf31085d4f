"""What becomes of a charge: a pure function of what was paid, what was signed, and what the buyer holds."""

import enum
from dataclasses import dataclass

from payments.sale.catalog import Catalog, Plan
from payments.sale.payload import Order, Reading, Verdict


class Reason(enum.StrEnum):
    """Why a charge is not granted. Stored as the event's `error` and, of a refund by itself, as its `reason`."""

    ANOTHER_PROGRAM = "another_program"
    DAMAGED_PAYLOAD = "damaged_payload"
    PLAN_MISSING = "plan_missing"
    NEVER_OFFERED = "never_offered"
    """Signed under a token that was replaced, on terms that the catalog has not had: maybe by whoever had the token."""
    WRONG_CURRENCY = "wrong_currency"
    WRONG_AMOUNT = "wrong_amount"
    NOT_THE_BUYER = "not_the_buyer"
    HELD_FOR_LIFE = "held_for_life"
    SUBSCRIBED = "subscribed"
    """It starts a subscription while another one that opens the same is running."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The order is to be honoured."""

    order: Order
    plan: Plan


@dataclass(frozen=True, slots=True)
class Foreign:
    """Another program on the same token sold it: recorded and reported, never refunded by itself."""

    reason: Reason = Reason.ANOTHER_PROGRAM


@dataclass(frozen=True, slots=True)
class Parked:
    """A person decides."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class GivenBack:
    """Surely ours, and it cannot be honoured: the money goes back by itself, once."""

    reason: Reason


Judgement = Granted | Foreign | Parked | GivenBack


@dataclass(frozen=True, slots=True)
class Payment:
    """What was paid: `amount` in the currency's minor unit (Stars: Stars)."""

    payer_telegram_id: int
    amount: int
    currency: str


def judge(
    payment: Payment,
    reading: Reading,
    catalog: Catalog,
    held_for_life: frozenset[str],
    subscribed: frozenset[str] = frozenset(),
    *,
    is_offered: bool = True,
) -> Judgement:
    """Decide a charge. `reading` is of its payload; `held_for_life` is what the payer has for ever already.

    `subscribed` is what running subscriptions open beside one that this charge starts; for any other charge nothing.
    `is_offered` is what `is_offered_now` says, or what else is known of the order's terms.
    """
    if reading.verdict is Verdict.FOREIGN:
        return Foreign()
    order = reading.order
    if order is None:
        return Parked(Reason.DAMAGED_PAYLOAD)
    plan = catalog.get(order.plan)
    if plan is None:
        return Parked(Reason.PLAN_MISSING)
    if (parked := _parked(payment, order, is_offered=is_offered)) is not None:
        return parked
    if payment.payer_telegram_id != order.buyer_telegram_id:
        return GivenBack(Reason.NOT_THE_BUYER)
    if held_for_life.issuperset(plan.entitlements):
        return GivenBack(Reason.HELD_FOR_LIFE)
    is_free = subscribed.isdisjoint(plan.entitlements)
    return Granted(order, plan) if is_free else GivenBack(Reason.SUBSCRIBED)


def is_offered_now(reading: Reading, catalog: Catalog) -> bool:
    """Tell whether an order needs no further proof that its terms were offered.

    One that a token in use has signed needs none. A former token may have been in other hands, so an order under it is
    honoured on terms that its plan has, retired or not.
    """
    order = reading.order
    if order is None or reading.verdict is not Verdict.OLD or reading.is_vouched:
        return True
    plan = catalog.get(order.plan)
    return plan is None or plan.offers(order)


def _parked(payment: Payment, order: Order, *, is_offered: bool) -> Parked | None:
    if not is_offered:
        return Parked(Reason.NEVER_OFFERED)
    if payment.currency != order.currency:
        return Parked(Reason.WRONG_CURRENCY)
    return Parked(Reason.WRONG_AMOUNT) if payment.amount != order.amount else None
