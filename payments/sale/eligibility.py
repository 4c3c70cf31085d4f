"""One rule for who may buy what: the shop and the pre-checkout ask it before a payment, the judgement after it.

A payment that the desk declines is therefore one that it would give back, and the other way round. The functions are
pure: each caller reads the facts about the payer itself, because a pre-checkout asks what stands now, and a charge is
judged by what stood when it was paid. The invoice (its signature, its price) is another question, which the callers
ask first. So are rate limits: they are steps of the callers before a payment, because nothing may stand between a
payment and the audit table.
"""

import enum
from dataclasses import dataclass

from payments.sale.catalog import Plan


class PurchaseObstacle(enum.StrEnum):
    """Reason why a person may not buy a plan.

    Stored as the verdict of a pre-checkout, as the `error` of a charge, and as the `reason` of a refund that no person
    asked for; the words of each have it in their key.
    """

    NOT_THE_BUYER = "not_the_buyer"
    """The invoice was made for another person."""
    NOT_ON_SALE = "not_on_sale"
    HELD_FOR_LIFE = "held_for_life"
    """The payer holds for life all that the plan opens."""
    SUBSCRIBED = "subscribed"
    """The plan is a subscription, and a running one opens the same."""


@dataclass(frozen=True, slots=True)
class Sale:
    """A plan (None: in no catalog) for one buyer, as a subscription or paid once."""

    plan: Plan | None
    buyer_telegram_id: int
    is_subscription: bool


@dataclass(frozen=True, slots=True)
class Payer:
    """A person who is about to pay, or has paid.

    `held_for_life` are the entitlement types that the payer holds for ever, `subscribed` those that running
    subscriptions of the payer open. Facts that are left out count as nothing held: the rule may be asked by the facts
    that are known so far, because more facts never take an obstacle away.
    """

    telegram_id: int
    held_for_life: frozenset[str] = frozenset()
    subscribed: frozenset[str] = frozenset()


def find_obstacle(sale: Sale, payer: Payer, *, is_paid: bool) -> PurchaseObstacle | None:
    """Judge a payer's eligibility for a purchase now: return the first reason against it; None: there is none.

    1. An invoice is for the buyer that it was made for.
    2. Nobody can buy a plan that is retired, or in no catalog. `is_paid` lets a retired one through, because a plan
       may be retired between an invoice and its payment, and what was sold is delivered.
    3. Lifetime owners of all that a plan opens cannot buy it again.
    4. A subscription cannot start beside a running one that opens the same.
    """
    plan = sale.plan
    if payer.telegram_id != sale.buyer_telegram_id:
        return PurchaseObstacle.NOT_THE_BUYER
    if plan is None or (plan.retired and not is_paid):
        return PurchaseObstacle.NOT_ON_SALE
    if payer.held_for_life.issuperset(plan.entitlements):
        return PurchaseObstacle.HELD_FOR_LIFE
    if sale.is_subscription and not payer.subscribed.isdisjoint(plan.entitlements):
        return PurchaseObstacle.SUBSCRIBED
    return None
