"""Revision 0013: keep the former requesters and reasons of a parked refund that is requested again."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the column of former requests of a refund."""
    op.add_column("stripe_events", sa.Column("asked_before", sa.Text()))
