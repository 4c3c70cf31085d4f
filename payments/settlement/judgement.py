"""Judges a charge by its payment, its signed payload and the payer's access: a pure function."""

import enum
from dataclasses import dataclass
from typing import Final

from payments.sale.catalog import Catalog, Plan
from payments.sale.eligibility import Payer, PurchaseObstacle, Sale, find_obstacle
from payments.sale.payload import Order, PayloadVerdict, ReadPayload

GIVEN_BACK_FOR: Final = frozenset(PurchaseObstacle) - {PurchaseObstacle.NOT_ON_SALE}
"""The obstacles for which the desk gives a charge back: a retired plan is none after the payment."""


class ChargeProblem(enum.StrEnum):
    """Reason why a charge waits for an admin, or belongs to another program. Stored as the event's `error`."""

    ANOTHER_PROGRAM = "another_program"
    DAMAGED_PAYLOAD = "damaged_payload"
    PLAN_MISSING = "plan_missing"
    NEVER_OFFERED = "never_offered"
    """Signed under a former token, on terms that the catalog never had: maybe by a thief of the token."""
    WRONG_CURRENCY = "wrong_currency"
    WRONG_AMOUNT = "wrong_amount"


@dataclass(frozen=True, slots=True)
class Granted:
    """The charge grants what its order sold."""

    order: Order
    plan: Plan


@dataclass(frozen=True, slots=True)
class Foreign:
    """Another program on the same token made the sale.

    The desk records and reports the charge, and never refunds it by itself.
    """

    reason: ChargeProblem = ChargeProblem.ANOTHER_PROGRAM


@dataclass(frozen=True, slots=True)
class Parked:
    """The charge waits for an admin to decide."""

    reason: ChargeProblem


@dataclass(frozen=True, slots=True)
class GivenBack:
    """The charge is surely ours, and its payer may not buy the plan: the desk refunds it by itself, once.

    The `reason` is one of GIVEN_BACK_FOR, stored as the event's `error` and as the `reason` of its refund.
    """

    reason: PurchaseObstacle


ChargeJudgement = Granted | Foreign | Parked | GivenBack


@dataclass(frozen=True, slots=True)
class Payment:
    """The money of a charge: `amount` in the currency's minor unit (Stars: Stars)."""

    amount: int
    currency: str


def judge(
    payment: Payment, payer: Payer, reading: ReadPayload, catalog: Catalog, *, is_offered: bool
) -> ChargeJudgement:
    """Judge a charge: grant it, give it back, park it, or leave it to another program.

    `reading` is of its payload. The facts about the `payer` leave out what the charge itself has opened. `is_offered`:
    the order needs no proof that the catalog offered its terms (`needs_no_proof_of_offer`), or there is one.

    1. A payload of another form is of another program.
    2. An admin decides on a charge without an order or its plan, and on terms, a price or a currency that are not those
       of the order.
    3. The rule of payments/sale/eligibility.py, which declines pre-checkouts too, says what goes back.
    """
    if reading.verdict is PayloadVerdict.FOREIGN:
        return Foreign()
    order = reading.order
    if order is None:
        return Parked(ChargeProblem.DAMAGED_PAYLOAD)
    plan = catalog.get(order.plan)
    if plan is None:
        return Parked(ChargeProblem.PLAN_MISSING)
    if (parked := _parked(payment, order, is_offered=is_offered)) is not None:
        return parked
    sale = Sale(plan, order.buyer_telegram_id, order.subscription)
    obstacle = find_obstacle(sale, payer, is_paid=True)
    return Granted(order, plan) if obstacle is None else GivenBack(obstacle)


def _parked(payment: Payment, order: Order, *, is_offered: bool) -> Parked | None:
    if not is_offered:
        return Parked(ChargeProblem.NEVER_OFFERED)
    if payment.currency != order.currency:
        return Parked(ChargeProblem.WRONG_CURRENCY)
    return Parked(ChargeProblem.WRONG_AMOUNT) if payment.amount != order.amount else None
