"""A charge that an earlier desk parked knows since when: it was parked as it came in, or within its attempts."""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Fill in the moment, so that the time since then is given back."""
    op.execute(
        "UPDATE stripe_events SET parked_at = created_at WHERE parked_at IS NULL AND status = 2"
        " AND outcome = 'parked' AND refund_of IS NULL AND origin = 'starledger'"
    )
