"""Reports read the payments of a span of time by an index."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the index of when something happened, by whichever of the three columns is the first that says it."""
    moments = ["webhook_timestamp", "created_at", "processed_at"]
    op.create_index("ix_stripe_events_happened_at", "stripe_events", moments)
