"""Revision 0005: add partial refunds, and the reading position among Stripe's events."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the index of a charge's refunds, and the one-row table of Stripe's reading."""
    is_refund = sa.text("refund_of IS NOT NULL")
    op.create_index(
        "ix_stripe_events_refund_of",
        "stripe_events",
        ["refund_of"],
        sqlite_where=is_refund,
        postgresql_where=is_refund,
    )
    op.create_table(
        "stripe_reading",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("newest", sa.BigInteger()),
        sa.Column("foreign_count", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("read_at", sa.DateTime()),
        sa.CheckConstraint("id = 1", name="ck_stripe_reading_one_row"),
    )
