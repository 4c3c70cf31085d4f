"""Revision 0008: index accepted pre-checkouts by card by their time and by their payload."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the two indexes of accepted pre-checkouts by card."""
    is_by_card = sa.text("verdict = 'accepted' AND currency <> 'XTR'")
    for name, columns in (
        ("ix_checkouts_by_card", ["created_at", "query_id"]),
        ("ix_checkouts_by_card_payload", ["payload"]),
    ):
        op.create_index(name, "checkouts", columns, sqlite_where=is_by_card, postgresql_where=is_by_card)
