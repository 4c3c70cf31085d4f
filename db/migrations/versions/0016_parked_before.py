"""Revision 0016: fill in the moment of parking for charges that an earlier version parked.

That version parked such a charge on arrival, or within its attempts.
"""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Fill in `parked_at` of parked charges, so that a later grant gives back the time since then."""
    op.execute(
        "UPDATE stripe_events SET parked_at = created_at WHERE parked_at IS NULL AND status = 2"
        " AND outcome = 'parked' AND refund_of IS NULL AND origin = 'starledger'"
    )
