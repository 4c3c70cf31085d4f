"""Revision 0015: add moved groups, topics of messages, and declined pre-checkouts as one row a day."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the table of moved groups, the two columns, and the indexes of pre-checkouts."""
    op.create_table(
        "moved_chats",
        sa.Column("chat_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("moved_to", sa.BigInteger(), nullable=False),
        sa.Column("noted_at", sa.DateTime(), nullable=False),
    )
    op.add_column("outbox", sa.Column("topic_id", sa.BigInteger()))
    op.add_column("checkouts", sa.Column("declined_on", sa.String(10)))
    is_declined = sa.text("declined_on IS NOT NULL")
    op.create_index(
        "ux_checkouts_declined",
        "checkouts",
        ["telegram_id", "payload", "declined_on"],
        unique=True,
        sqlite_where=is_declined,
        postgresql_where=is_declined,
    )
    op.create_index("ix_checkouts_created_at", "checkouts", ["created_at"])
