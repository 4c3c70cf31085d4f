"""Adds up the balance of a charge: the refunded amount and the remainder, by the refund rows that name the charge.

A row names its charge in `refund_of`. Refunds and lost disputes take their amount from the charge; a refund that
returned to the seller counts the other way. Every module that judges a refund uses these sums, because two sums could
disagree.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import ColumnElement, or_

from db.states import ORIGIN, EventStatus
from db.tables import StripeEvent
from payments.methods import METHODS

_UNDATED_LAST: Final = datetime.max.replace(tzinfo=UTC)


def is_returned_refund(event: StripeEvent) -> bool:
    """Tell whether an audit row is a returned refund, which adds to its charge's remainder."""
    method = METHODS.get(event.payment_method)
    return method is not None and event.event_type == method.refund_failed_type


def is_at_provider(refund: StripeEvent) -> bool:
    """Tell whether the provider has made a refund, by its own word or its answer to the desk."""
    return refund.webhook_timestamp is not None or refund.status == EventStatus.PROCESSED


def where_at_provider() -> ColumnElement[bool]:
    """Return the SQL condition that the provider has made a refund, as `is_at_provider` tells it."""
    return or_(StripeEvent.webhook_timestamp.is_not(None), StripeEvent.status == EventStatus.PROCESSED)


def contradiction(refund: StripeEvent, charge: StripeEvent) -> str | None:
    """Return the sentence that says how a refund row contradicts its charge; None: they agree.

    A refund that contradicts its charge leaves the charge's remainder as it is.
    """
    if charge.origin != ORIGIN:
        return "the charge is another service's: starledger revoke, on the server, ends what was granted for it here"
    if charge.customer_id != refund.customer_id:
        return "the refund went to another user than the charge's"
    method = METHODS[charge.payment_method]
    may_be_part = method.gives_back_parts and refund.amount_cents <= charge.amount_cents
    # A bank may take more than the buyer paid, mostly because currencies moved (Stripe API, dispute object: amount).
    may_be_more = refund.event_type == method.dispute_type
    fits = charge.amount_cents == refund.amount_cents or may_be_part or may_be_more
    if charge.currency != refund.currency or not fits:
        return (
            f"the refund says {refund.amount_cents} {refund.currency},"
            f" the charge {charge.amount_cents} {charge.currency}"
        )
    return None


def refunded_amount(rows: Iterable[StripeEvent]) -> int:
    """Add up refund rows of a charge: the refunded amount less the returned amount, in minor units."""
    return sum(-row.amount_cents if is_returned_refund(row) else row.amount_cents for row in rows)


def remainder(charge: StripeEvent, refunds: Iterable[StripeEvent]) -> int:
    """Return the remainder of a charge, in minor units: its amount less its refunds.

    `refunds` are all rows of its refunds. The remainder stays at 0 when a lost dispute takes more than the charge.
    """
    return max(0, charge.amount_cents - refunded_amount(_counted_refunds(charge, refunds)))


def completing_refund(charge: StripeEvent, refunds: Iterable[StripeEvent]) -> StripeEvent | None:
    """Find the refund that first brought a charge's remainder to 0, by date; None: a remainder is left."""
    rest = charge.amount_cents
    for row in sorted(_counted_refunds(charge, refunds), key=_refund_order):
        rest -= refunded_amount([row])
        if rest <= 0:
            return row
    return None


def refunded_at(refund: StripeEvent) -> datetime | None:
    """Return the date of a refund: the provider's, or ours until the provider tells its own."""
    return refund.webhook_timestamp or refund.processed_at


def is_refunded_after(refund: StripeEvent, other: StripeEvent | None) -> bool:
    """Tell whether a refund is later than another one; False while one of the two dates is unknown."""
    at, other_at = refunded_at(refund), None if other is None else refunded_at(other)
    return at is not None and other_at is not None and at > other_at


def _counted_refunds(charge: StripeEvent, refunds: Iterable[StripeEvent]) -> Sequence[StripeEvent]:
    """Return the refund rows that count in a charge's balance: made, and in agreement with the charge."""
    return [row for row in refunds if is_at_provider(row) and contradiction(row, charge) is None]


def _refund_order(row: StripeEvent) -> tuple[datetime, bool, str]:
    """Return a refund row's sort key: by date, and a returned refund after the refund itself."""
    return refunded_at(row) or _UNDATED_LAST, is_returned_refund(row), row.event_id
