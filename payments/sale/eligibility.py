"""One rule for who may buy what: the shop and the pre-checkout ask it before a payment, the judgement after it.

A payment that the desk declines is therefore one that it would give back, and the other way round. The functions are
pure. Each caller reads the facts about the payer itself, because a pre-checkout asks about the present, and the
judgement about the moment of payment. The callers check the invoice (its signature, its price) first. Rate limits are
theirs too, and apply only before a payment, because nothing may stand between a payment and the audit table.
"""

import enum
from dataclasses import dataclass

from payments.sale.catalog import Plan


class PurchaseObstacle(enum.StrEnum):
    """Reason why a person may not buy a plan.

    The desk stores it as the verdict of a pre-checkout, as the `error` of a charge, and as the `reason` of a refund
    that no person asked for. The key of each one's text has the value in it.
    """

    NOT_THE_BUYER = "not_the_buyer"
    """The invoice is for another person."""
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

    `held_for_life` are the entitlement types that the payer holds for life, `subscribed` those that running
    subscriptions of the payer open. Facts that a caller leaves out count as nothing held: a caller may ask with the
    facts that it has so far, because more facts never remove an obstacle.
    """

    telegram_id: int
    held_for_life: frozenset[str] = frozenset()
    subscribed: frozenset[str] = frozenset()


def find_obstacle(sale: Sale, payer: Payer, *, is_paid: bool) -> PurchaseObstacle | None:
    """Find the first reason why a payer may not buy a plan; None: the payer may buy it.

    1. Only the buyer of an invoice may pay it.
    2. Nobody can buy a plan that is retired, or in no catalog. `is_paid` lets a retired one through, because the seller
       may retire a plan between an invoice and its payment, and the desk delivers what it has sold.
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
