"""What Stripe alone knows of a charge, as facts for the audit table: pure functions."""

from datetime import datetime

from db.tables import StripeEvent
from payments.incoming import Person, RefundFact
from payments.stripe.api import Dispute


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
