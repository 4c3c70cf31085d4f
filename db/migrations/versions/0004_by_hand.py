"""Revision 0004: record the admins and reasons of grants by hand, and the erasure of a user's name."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns for grants by hand and for erasure."""
    for name in ("granted_by", "grant_reason", "revoked_by"):
        op.add_column("entitlement_grants", sa.Column(name, sa.Text()))
    op.add_column("users", sa.Column("erased_at", sa.DateTime()))
