"""Refunds that are replaced by another one, and those that come back."""

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Change no table: the two outcomes are in the rules, which are made anew (docs/decisions/0001)."""
