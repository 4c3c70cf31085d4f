"""Revision 0011: record when an event was parked, when a grant opened, and the terms that the catalog has offered."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the columns, the table of offered terms, and the index of settled events with a later fact to apply."""
    op.add_column("stripe_events", sa.Column("parked_at", sa.DateTime()))
    op.add_column("entitlement_grants", sa.Column("opened_at", sa.DateTime()))
    has_more = sa.text("status = 1 AND error IS NOT NULL")
    op.create_index(
        "ix_stripe_events_has_more", "stripe_events", ["created_at"], sqlite_where=has_more, postgresql_where=has_more
    )
    op.create_table(
        "offered_terms",
        sa.Column("plan", sa.Text(), primary_key=True),
        sa.Column("term", sa.Text(), primary_key=True),
        sa.Column("currency", sa.String(3), primary_key=True),
        sa.Column("amount", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("first_offered_at", sa.DateTime(), nullable=False),
    )
