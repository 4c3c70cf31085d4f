"""Revision 0012: keep every row of Telegram's ledger, and read the ledger again from its first row."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the table of ledger rows, and restart the reading, so that the rows of earlier years fill it too."""
    op.create_table(
        "ledger_rows",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount_nanostars", sa.BigInteger(), nullable=False),
        sa.Column("happened_at", sa.DateTime(), nullable=False),
        sa.Column("state", sa.Text()),
        sa.Column("telegram_id", sa.BigInteger()),
        sa.Column("charge_id", sa.Text()),
        sa.Column("commission_nanostars", sa.BigInteger()),
        sa.Column("affiliate_id", sa.BigInteger()),
        sa.Column("place", sa.BigInteger()),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", "direction"),
        sa.CheckConstraint("direction IN ('in', 'out')", name="ck_ledger_rows_direction"),
        sa.CheckConstraint("amount_nanostars >= 0", name="ck_ledger_rows_amount"),
    )
    op.create_index("ix_ledger_rows_happened_at", "ledger_rows", ["happened_at"])
    _index_of_some("ix_ledger_rows_pending", "place", "state = 'pending'")
    _index_of_some("ix_ledger_rows_costs", "happened_at", "commission_nanostars IS NOT NULL OR charge_id IS NULL")
    op.add_column("ledger", sa.Column("balance_nanostars", sa.BigInteger()))
    # A pass that broke off half way restarts with it, and finds the rows that it has recorded.
    op.execute(
        "UPDATE ledger SET row_count = 0, latest = '[]', nanostars = 0, payment_stars = 0, event_stars = 0,"
        " compared_at = NULL, balance_off_nanostars = NULL"
    )


def _index_of_some(name: str, column: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "ledger_rows", [column], sqlite_where=where, postgresql_where=where)
