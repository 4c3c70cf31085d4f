"""Revision 0006: index the subscriptions whose renewals wait for an admin."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the index of subscriptions whose change at Telegram was given up."""
    is_given_up = sa.text("error IS NOT NULL AND due_at IS NULL")
    op.create_index(
        "ix_subscriptions_given_up",
        "subscriptions",
        ["renewal_wanted", "current_period_end"],
        sqlite_where=is_given_up,
        postgresql_where=is_given_up,
    )
