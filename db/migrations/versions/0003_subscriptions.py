"""Revision 0003: add subscriptions, their changes, and the wanted state of their renewals."""

import sqlalchemy as sa
from alembic import op

from db.errors import WrongDatabaseError

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the two tables of subscriptions, the update of a charge, and the index of the end of access."""
    taken = sorted({"subscriptions", "subscription_changes"} & {*sa.inspect(op.get_bind()).get_table_names()})
    if taken:
        raise WrongDatabaseError(
            f"this database has tables of these names that are not Starledger's: {', '.join(taken)}"
        )
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("first_charge_id", sa.Text(), nullable=False),
        sa.Column("last_charge_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.String(36), sa.ForeignKey("users.id"), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("price_stars", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("current_period_end", sa.DateTime(), nullable=False),
        sa.Column("paid_until", sa.DateTime()),
        sa.Column("check_at", sa.DateTime()),
        sa.Column("change_id", sa.BigInteger()),
        sa.Column("renewal_wanted", sa.Text()),
        sa.Column("wanted_because", sa.Text()),
        sa.Column("due_at", sa.DateTime()),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("claimed_until", sa.DateTime()),
        sa.Column("error", sa.Text()),
        sa.UniqueConstraint("first_charge_id", name="ux_subscriptions_first_charge_id"),
    )
    op.create_index("ix_subscriptions_user_id", "subscriptions", ["user_id"])
    op.create_index("ix_subscriptions_check_at", "subscriptions", ["check_at"])
    op.create_index("ix_subscriptions_due_at", "subscriptions", ["due_at"])
    op.create_table(
        "subscription_changes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("user_id", sa.String(36), sa.ForeignKey("users.id"), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("update_id", sa.BigInteger()),
        sa.Column("charge_id", sa.Text()),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.Column("settled_at", sa.DateTime()),
        sa.UniqueConstraint("update_id", "user_id", "payload", "state", name="ux_subscription_changes_update"),
    )
    op.create_index("ix_subscription_changes_user_id", "subscription_changes", ["user_id"])
    unsettled = sa.text("settled_at IS NULL")
    op.create_index(
        "ix_subscription_changes_unsettled",
        "subscription_changes",
        ["id"],
        sqlite_where=unsettled,
        postgresql_where=unsettled,
    )
    op.add_column("stripe_events", sa.Column("update_id", sa.BigInteger()))
    op.create_index("ix_entitlements_expires_at", "entitlements", ["expires_at"])
