"""Revision 0014: record when a subscription's row was last computed, to notice a clock that was set back."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the moment of a subscription's last check, and its index."""
    op.add_column("subscriptions", sa.Column("checked_at", sa.DateTime()))
    op.create_index("ix_subscriptions_checked_at", "subscriptions", ["checked_at"])
