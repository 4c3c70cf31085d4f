"""The balance of a charge: the refunded amount and the remainder, by the refund rows that name it in `refund_of`.

Refunds and lost disputes take from the charge as they are; a refund that returned to the seller counts the other way.
Every module that judges a refund uses these sums, because two sums could disagree.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import ColumnElement, or_

from db.tables import ORIGIN, EventStatus, StripeEvent
from payments.methods import METHODS

_UNDATED_LAST: Final = datetime.max.replace(tzinfo=UTC)


def is_returned_refund(event: StripeEvent) -> bool:
    """Tell whether an audit row is a returned refund, which counts the other way in its charge's balance."""
    method = METHODS.get(event.payment_method)
    return method is not None and event.event_type == method.refund_failed_type


def is_at_provider(refund: StripeEvent) -> bool:
    """Tell whether a refund is made, by its provider's word or answer, and so counts in its charge's balance."""
    return refund.webhook_timestamp is not None or refund.status == EventStatus.PROCESSED


def where_at_provider() -> ColumnElement[bool]:
    """Return the condition of refunds that count in their charge's balance by `is_at_provider`, in SQL."""
    return or_(StripeEvent.webhook_timestamp.is_not(None), StripeEvent.status == EventStatus.PROCESSED)


def contradiction(refund: StripeEvent, charge: StripeEvent) -> str | None:
    """Say in what a refund row contradicts its charge; None: in nothing, and it counts in the charge's balance.

    A refund that contradicts its charge gives nothing of it back.
    """
    if charge.origin != ORIGIN:
        return "the charge is another service's: starledger revoke, on the server, ends what was granted for it here"
    if charge.customer_id != refund.customer_id:
        return "the refund went to another user than the charge's"
    method = METHODS[charge.payment_method]
    may_be_part = method.gives_back_parts and refund.amount_cents <= charge.amount_cents
    # A bank may take more than was paid, mostly because currencies moved (Stripe API, the dispute object: amount).
    may_be_more = refund.event_type == method.dispute_type
    fits = charge.amount_cents == refund.amount_cents or may_be_part or may_be_more
    if charge.currency != refund.currency or not fits:
        return (
            f"the refund says {refund.amount_cents} {refund.currency},"
            f" the charge {charge.amount_cents} {charge.currency}"
        )
    return None


def refunded_amount(rows: Iterable[StripeEvent]) -> int:
    """Add up the refund rows of a balance: the amount refunded, less what returned, in minor units of their charge."""
    return sum(-row.amount_cents if is_returned_refund(row) else row.amount_cents for row in rows)


def remainder(charge: StripeEvent, refunds: Iterable[StripeEvent]) -> int:
    """Return the remainder in a charge's balance, in minor units: its amount less its refunds.

    `refunds` are all rows of its refunds. Never below 0, because a lost dispute may take more than the charge.
    """
    return max(0, charge.amount_cents - refunded_amount(_counted_refunds(charge, refunds)))


def completing_refund(charge: StripeEvent, refunds: Iterable[StripeEvent]) -> StripeEvent | None:
    """Return the refund that first brought a charge's balance to 0, by date; None: no refund did."""
    rest = charge.amount_cents
    for row in sorted(_counted_refunds(charge, refunds), key=_refund_order):
        rest -= refunded_amount([row])
        if rest <= 0:
            return row
    return None


def refunded_at(refund: StripeEvent) -> datetime | None:
    """Return a refund's date for its charge's balance: its provider's, or ours until that is known."""
    return refund.webhook_timestamp or refund.processed_at


def is_refunded_after(refund: StripeEvent, other: StripeEvent | None) -> bool:
    """Tell whether a refund comes after another one in a balance; False while one of the two dates is unknown."""
    at, other_at = refunded_at(refund), None if other is None else refunded_at(other)
    return at is not None and other_at is not None and at > other_at


def _counted_refunds(charge: StripeEvent, refunds: Iterable[StripeEvent]) -> Sequence[StripeEvent]:
    """Return the refund rows that count in a charge's balance: made, and without a contradiction."""
    return [row for row in refunds if is_at_provider(row) and contradiction(row, charge) is None]


def _refund_order(row: StripeEvent) -> tuple[datetime, bool, str]:
    """Return a refund row's sort key in a charge's balance: by date, a returned refund after the refund."""
    return refunded_at(row) or _UNDATED_LAST, is_returned_refund(row), row.event_id
