"""A subscription's row says when it was last made anew, so that a clock that was set back is seen."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the column and its index."""
    op.add_column("subscriptions", sa.Column("checked_at", sa.DateTime()))
    op.create_index("ix_subscriptions_checked_at", "subscriptions", ["checked_at"])
