"""Revision 0009: index the moment of an event, for reports on the payments of a span of time."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the index of an event's own time, the first of the three columns that is known."""
    moments = ["webhook_timestamp", "created_at", "processed_at"]
    op.create_index("ix_stripe_events_happened_at", "stripe_events", moments)
