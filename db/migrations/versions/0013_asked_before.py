"""A parked refund that is asked for anew knows who asked for it before, and why."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the column."""
    op.add_column("stripe_events", sa.Column("asked_before", sa.Text()))
