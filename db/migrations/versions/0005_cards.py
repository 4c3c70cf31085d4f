"""Refunds in parts, and how far Stripe's events have been read."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the index by which the refunds of a charge are found, and the reading's one-row table."""
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
