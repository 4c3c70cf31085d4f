"""Revision 0010: keep the idempotency key of a refund's attempt while its end is unknown."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column of a refund's idempotency key."""
    op.add_column("stripe_events", sa.Column("attempt_key", sa.String(36)))
