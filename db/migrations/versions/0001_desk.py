"""Revision 0001: create the desk's tables, beside or around those of other services in a shared database.

An existing `users` or `stripe_events` keeps its columns and rows; the revision adds missing columns, nullable or with a
default.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from db.errors import WrongDatabaseError

revision = "0001"
down_revision = None

_OWN = ("entitlement_grants", "entitlements", "active_entitlements", "checkouts", "outbox", "quarantine", "desk")
_WE_FILL = {
    "users": {"id", "telegram_id", "created_at"},
    "stripe_events": {
        "id",
        "event_id",
        "event_type",
        "payment_method",
        "customer_id",
        "amount_cents",
        "currency",
        "status",
        "created_at",
    },
}
_WIDENED = {"users": ("username", "language_code"), "stripe_events": ("event_id",)}


def _user_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("telegram_id", sa.BigInteger()),
        sa.Column("username", sa.Text()),
        sa.Column("language_code", sa.Text()),
        sa.Column("created_at", sa.DateTime()),
    ]


def _event_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("event_id", sa.Text(), nullable=False, unique=True),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("payment_method", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.String(36), sa.ForeignKey("users.id"), nullable=False),
        sa.Column("amount_cents", sa.Integer(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("webhook_timestamp", sa.DateTime()),
        sa.Column("processed_at", sa.DateTime()),
        sa.Column("created_at", sa.DateTime()),
        sa.Column("outcome", sa.Text()),
        sa.Column("origin", sa.Text()),
        sa.Column("refund_of", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("requested_by", sa.Text()),
        sa.Column("payload", sa.Text()),
        sa.Column("is_recurring", sa.Boolean()),
        sa.Column("is_first_recurring", sa.Boolean()),
        sa.Column("subscription_expires_at", sa.DateTime()),
        sa.Column("due_at", sa.DateTime()),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("claimed_until", sa.DateTime()),
        sa.Column("error", sa.Text()),
    ]


def _adopt(table: str, wanted: Sequence[sa.Column[object]], inspector: sa.Inspector) -> None:
    """Add missing columns to an existing shared table.

    Raises WrongDatabaseError for a table whose rows we could not write.
    """
    found = {column["name"]: column for column in inspector.get_columns(table)}
    # SQLite's integers have 64 bits by whatever name.
    integer = sa.BigInteger if op.get_bind().dialect.name == "postgresql" else sa.Integer
    for name, wanted_type, words in (
        ("id", sa.String, "UUIDs as text of 36 characters"),
        ("telegram_id", integer, "Telegram's ids as BIGINT"),
    ):
        if name in found and not isinstance(found[name]["type"], wanted_type):
            raise WrongDatabaseError(
                f"{table}.{name} in this database is {found[name]['type']}; Starledger writes {words}"
            )
    unfillable = sorted(
        name
        for name, column in found.items()
        if not column["nullable"] and column.get("default") is None and name not in _WE_FILL[table]
    )
    if unfillable:
        raise WrongDatabaseError(
            f"{table} in this database has columns that Starledger cannot fill ({', '.join(unfillable)}):"
            " make them nullable or give them a default"
        )
    for column in wanted:
        if column.name not in found:
            op.add_column(table, column)


def _index(table: str, column: str, inspector: sa.Inspector | None, *, unique: bool = False) -> None:
    """Create an index, unless the adopted table has one on this one column and for all of its rows."""
    if inspector is not None:
        where = f"{op.get_bind().dialect.name}_where"
        there = [found["column_names"] for found in inspector.get_unique_constraints(table)]
        there += [
            [str(name) for name in found["column_names"]]
            for found in inspector.get_indexes(table)
            if (found["unique"] or not unique) and where not in found.get("dialect_options", {})
        ]
        if [column] in there:
            return
    op.create_index(f"{'ux' if unique else 'ix'}_{table}_{column}", table, [column], unique=unique)


def _shared_tables(inspector: sa.Inspector) -> None:
    tables = set(inspector.get_table_names())
    for table, columns in (("users", _user_columns()), ("stripe_events", _event_columns())):
        if table in tables:
            _adopt(table, columns, inspector)
        else:
            op.create_table(table, *columns)
    users = inspector if "users" in tables else None
    events = inspector if "stripe_events" in tables else None
    _index("users", "telegram_id", users, unique=True)
    op.create_index("ix_users_username_lower", "users", [sa.text("lower(username)")])
    for column in ("customer_id", "status", "created_at", "due_at"):
        _index("stripe_events", column, events)
    if op.get_bind().dialect.name == "postgresql":
        for table in tables.intersection(_WIDENED):
            _widen(table, inspector)


def _widen(table: str, inspector: sa.Inspector) -> None:
    """Remove length limits of text columns whose length others decide, such as charge ids of over 128 characters.

    SQLite has no such limits.
    """
    for column in inspector.get_columns(table):
        if column["name"] in _WIDENED[table] and getattr(column["type"], "length", None) is not None:
            op.alter_column(table, column["name"], type_=sa.Text())


def _access_tables() -> None:
    op.create_table(
        "entitlement_grants",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("user_id", sa.String(36), sa.ForeignKey("users.id"), nullable=False),
        sa.Column("entitlement_type", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("granted_at", sa.DateTime(), nullable=False),
        sa.Column("duration_days", sa.Integer()),
        sa.Column("ends_at", sa.DateTime()),
        sa.Column("revoked_at", sa.DateTime()),
        sa.Column("revoke_reason", sa.Text()),
        sa.UniqueConstraint("source", "entitlement_type", name="ux_entitlement_grants_source_type"),
        sa.CheckConstraint("duration_days IS NULL OR ends_at IS NULL", name="ck_entitlement_grants_one_length"),
        sa.CheckConstraint("duration_days > 0", name="ck_entitlement_grants_days_positive"),
    )
    op.create_index("ix_entitlement_grants_user_type", "entitlement_grants", ["user_id", "entitlement_type"])
    op.create_table(
        "entitlements",
        sa.Column("user_id", sa.String(36), sa.ForeignKey("users.id"), primary_key=True),
        sa.Column("entitlement_type", sa.Text(), primary_key=True),
        sa.Column("expires_at", sa.DateTime()),
        sa.Column("revoked_at", sa.DateTime()),
    )


def _desk_tables() -> None:
    op.create_table(
        "checkouts",
        sa.Column("query_id", sa.Text(), primary_key=True),
        sa.Column("telegram_id", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("chat_id", sa.BigInteger(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("due_at", sa.DateTime()),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("sent_at", sa.DateTime()),
        sa.Column("error", sa.Text()),
        sa.UniqueConstraint("event_id", "kind", "chat_id", name="ux_outbox_event_kind_chat"),
    )
    op.create_index("ix_outbox_due_at", "outbox", ["due_at"])
    waits = sa.text("due_at IS NOT NULL")
    op.create_index("ix_outbox_waiting", "outbox", ["chat_id", "id"], sqlite_where=waits, postgresql_where=waits)
    op.create_table(
        "quarantine",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("update_id", sa.BigInteger(), nullable=False),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("resolved_at", sa.DateTime()),
    )
    op.create_table(
        "desk",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("bot_id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_desk_one_row"),
    )


def upgrade() -> None:
    """Create the tables of revision 0001 that do not exist."""
    inspector = sa.inspect(op.get_bind())
    taken = sorted(set(_OWN) & {*inspector.get_table_names(), *inspector.get_view_names()})
    if taken:
        raise WrongDatabaseError(
            f"this database has tables of these names that are not Starledger's: {', '.join(taken)}"
        )
    _shared_tables(inspector)
    _access_tables()
    _desk_tables()
