"""What Stripe has of a charge, as facts for the audit table: pure functions."""

from collections.abc import Sequence
from datetime import datetime

from db.tables import EventStatus, StripeEvent
from payments.incoming import Person, RefundFact, refund_id
from payments.stripe.api import Dispute, Refund


def refund_facts(
    charge: StripeEvent, person: Person, known: Sequence[StripeEvent], refunds: Sequence[Refund]
) -> list[RefundFact]:
    """Return the refunds that have left for the buyer; `known` are the rows of the charge's refunds."""
    whole = next((row for row in known if row.event_id == refund_id(charge.event_id)), None)
    return [
        RefundFact(
            charge_id=charge.event_id,
            person=person,
            amount=refund.amount,
            currency=refund.currency.upper(),
            happened_at=refund.happened_at,
            part=None if _settles(refund, charge, whole) else refund.id,
        )
        for refund in refunds
        if refund.is_through
    ]


def dispute_fact(charge: StripeEvent, person: Person, dispute: Dispute, closed_at: datetime) -> RefundFact:
    """Return what a lost dispute has taken back."""
    return RefundFact(
        charge_id=charge.event_id,
        person=person,
        amount=dispute.amount,
        currency=dispute.currency.upper(),
        happened_at=closed_at,
        part=dispute.id,
        is_dispute=True,
        reason=f"dispute lost: {dispute.reason}",
    )


def _settles(refund: Refund, charge: StripeEvent, whole: StripeEvent | None) -> bool:
    """Tell whether a refund is the one that a charge's refund row is about, and not one of several parts."""
    if refund.row == refund_id(charge.event_id) or refund.amount == charge.amount_cents:
        return True
    if whole is None or whole.amount_cents != refund.amount:
        return False
    # Asked for here and made at Stripe meanwhile, it is the same refund; and so it stays when it is told again.
    is_open = whole.webhook_timestamp is None and whole.status != EventStatus.PROCESSED
    return is_open or whole.webhook_timestamp == refund.happened_at
