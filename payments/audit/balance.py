"""What has gone back of a charge: the one sum that everybody goes by, from the rows that name it in `refund_of`.

Refunds and lost disputes count as they are; a refund that came back to the seller counts the other way.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from db.tables import ORIGIN, EventStatus, StripeEvent
from payments.methods import METHODS

_AT_LAST: Final = datetime.max.replace(tzinfo=UTC)


def is_return(event: StripeEvent) -> bool:
    """Tell the row of a refund that came back to the seller."""
    method = METHODS.get(event.payment_method)
    return method is not None and event.event_type == method.refund_failed_type


def is_at_provider(refund: StripeEvent) -> bool:
    """Tell a refund that its provider has done, as it told us or as it answered."""
    return refund.webhook_timestamp is not None or refund.status == EventStatus.PROCESSED


def contradiction(refund: StripeEvent, charge: StripeEvent) -> str | None:
    """Say what of a refund contradicts its charge: nothing of the charge goes back by it."""
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


def sum_up(rows: Iterable[StripeEvent]) -> int:
    """Return what rows of refunds add up to, in the minor unit of their charge's currency."""
    return sum(-row.amount_cents if is_return(row) else row.amount_cents for row in rows)


def left(charge: StripeEvent, refunds: Iterable[StripeEvent]) -> int:
    """Return how much of a charge of ours has not gone back, in minor units; `refunds` are all rows of its refunds.

    Never below 0: what a lost dispute took beyond the charge is not of it.
    """
    return max(0, charge.amount_cents - sum_up(_counting(charge, refunds)))


def completing(charge: StripeEvent, refunds: Iterable[StripeEvent]) -> StripeEvent | None:
    """Return the refund by which, in the order of time, all of a charge was back for the first time; None: never."""
    rest = charge.amount_cents
    for row in sorted(_counting(charge, refunds), key=_place):
        rest -= sum_up([row])
        if rest <= 0:
            return row
    return None


def went_back_at(refund: StripeEvent) -> datetime | None:
    """Return when a refund was made, as its provider says, or until that is known, as we do."""
    return refund.webhook_timestamp or refund.processed_at


def is_after(refund: StripeEvent, other: StripeEvent | None) -> bool:
    """Tell a refund that was made after another one; not while one of the two times is not known."""
    at, other_at = went_back_at(refund), None if other is None else went_back_at(other)
    return at is not None and other_at is not None and at > other_at


def _counting(charge: StripeEvent, refunds: Iterable[StripeEvent]) -> Sequence[StripeEvent]:
    return [row for row in refunds if is_at_provider(row) and contradiction(row, charge) is None]


def _place(row: StripeEvent) -> tuple[datetime, bool, str]:
    return went_back_at(row) or _AT_LAST, is_return(row), row.event_id
