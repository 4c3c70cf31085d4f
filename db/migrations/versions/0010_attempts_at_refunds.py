"""An attempt at a refund whose end is not known keeps its key, however long that takes."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column."""
    op.add_column("stripe_events", sa.Column("attempt_key", sa.String(36)))
