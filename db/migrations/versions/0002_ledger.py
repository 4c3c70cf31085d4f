"""Revision 0002: record the reading position in Telegram's ledger, and which of our events the ledger has."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the one-row table of the ledger's reading, and the moment when an event was seen in the ledger."""
    op.create_table(
        "ledger",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("row_count", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("latest", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("nanostars", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("payment_stars", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("event_stars", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("compared_at", sa.DateTime()),
        sa.Column("balance_off_nanostars", sa.BigInteger()),
        sa.Column("pass_wanted_at", sa.DateTime()),
        sa.Column("pass_begun_at", sa.DateTime()),
        sa.Column("pass_trusts_unsigned", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.CheckConstraint("id = 1", name="ck_ledger_one_row"),
    )
    op.add_column("stripe_events", sa.Column("ledger_seen_at", sa.DateTime()))
    unsettled = sa.text("status = 0")
    op.create_index(
        "ix_stripe_events_unsettled",
        "stripe_events",
        ["webhook_timestamp", "event_id"],
        sqlite_where=unsettled,
        postgresql_where=unsettled,
    )
    unseen = sa.text("ledger_seen_at IS NULL AND origin = 'starledger'")
    op.create_index(
        "ix_stripe_events_unseen", "stripe_events", ["created_at"], sqlite_where=unseen, postgresql_where=unseen
    )
