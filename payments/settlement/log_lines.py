"""Log lines about an audit row: each names its charge."""

from typing import TYPE_CHECKING

from loguru import logger

from db.tables import StripeEvent
from payments.metrics import GIVING_BACK

if TYPE_CHECKING:
    from loguru import Logger


def bound(event: StripeEvent) -> "Logger":
    """Return a logger whose lines name the charge, for the row of the charge or of a refund."""
    return logger.bind(
        event_id=event.event_id,
        charge_id=event.refund_of or event.event_id,
        event_type=event.event_type,
        user_id=event.customer_id,
    )


def log_settled(event: StripeEvent) -> None:
    """Log an audit row that has come to its end, in one line with all its facts."""
    bound(event).bind(
        payment_method=event.payment_method,
        amount=event.amount_cents,
        currency=event.currency,
        status=event.status,
        outcome=event.outcome,
        reason=event.error or event.reason,
        requested_by=event.requested_by,
        happened_at=event.webhook_timestamp.isoformat() if event.webhook_timestamp else None,
    ).info("{}: {}", event.event_type, event.outcome or GIVING_BACK)
