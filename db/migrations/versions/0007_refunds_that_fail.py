"""Revision 0007: allow refunds that another one replaces, and refunds that returned."""

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Change no table: the two outcomes are in the rules, which every migration renews (docs/decisions/0001)."""
