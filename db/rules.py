"""Rules that the database itself enforces on the shared tables: triggers and a view, for both engines.

The migrations run this DDL. A refusal reaches the caller as an IntegrityError. Rows of `stripe_events` that other
services wrote (`origin` is not ours) are free of the rules.
"""

from typing import Final

from sqlalchemy import Connection

from db.states import ORIGIN

_WRITTEN_FOR_EVER: Final = (
    "id",
    "event_id",
    "event_type",
    "payment_method",
    "customer_id",
    "amount_cents",
    "currency",
    "origin",
    "refund_of",
)
_WRITTEN_ONCE: Final = (
    "webhook_timestamp",
    "created_at",
    "payload",
    "is_recurring",
    "is_first_recurring",
    "subscription_expires_at",
    "ledger_seen_at",
    "update_id",
    "parked_at",
)
_GRANT_WRITTEN_FOR_EVER: Final = (
    "id",
    "user_id",
    "entitlement_type",
    "source",
    "granted_at",
    "duration_days",
)
_GRANT_WRITTEN_ONCE: Final = ("revoked_at", "granted_by", "revoked_by", "opened_at")
_GRANT_ERASABLE: Final = ("grant_reason", "revoke_reason")
_ROW_WRITTEN_FOR_EVER: Final = ("id", "direction", "amount_nanostars", "happened_at", "recorded_at")
_ROW_WRITTEN_ONCE: Final = ("telegram_id", "charge_id", "commission_nanostars", "affiliate_id")


def _changed(columns: tuple[str, ...]) -> str:
    return " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in columns)


def _changed_once_known(columns: tuple[str, ...]) -> str:
    return " OR ".join(f"(OLD.{c} IS NOT NULL AND NEW.{c} IS DISTINCT FROM OLD.{c})" for c in columns)


def _rewritten(columns: tuple[str, ...]) -> str:
    """Return the SQL condition of an update that changes a text column to another text, and does not empty it."""
    return " OR ".join(
        f"(OLD.{c} IS NOT NULL AND NEW.{c} IS NOT NULL AND NEW.{c} <> '' AND NEW.{c} <> OLD.{c})" for c in columns
    )


_OURS_OLD: Final = f"OLD.origin = '{ORIGIN}'"
_OURS_NEW: Final = f"NEW.origin = '{ORIGIN}'"
_BAD_MOVE: Final = (
    "NEW.status <> OLD.status AND NOT (OLD.status = 0 AND NEW.status IN (1, 2))"
    " AND NOT (OLD.status = 2 AND NEW.status = 1)"
)
_REWRITTEN_OUTCOME: Final = (
    "OLD.outcome IS NOT NULL AND NEW.outcome IS DISTINCT FROM OLD.outcome AND NOT (OLD.status = 2 AND NEW.status = 1)"
    " AND NOT (OLD.outcome = 'parked' AND NEW.outcome IS NOT NULL AND NEW.outcome = 'replaced')"
)
_BAD_OUTCOME: Final = (
    "NOT ((NEW.status = 0 AND NEW.outcome IS NULL)"
    " OR (NEW.status = 1 AND NEW.outcome IN ('granted', 'refunded', 'returned') AND NEW.outcome IS NOT NULL)"
    " OR (NEW.status = 2 AND (NEW.outcome IS NULL OR NEW.outcome IN ('foreign', 'parked', 'replaced'))))"
)
_REWRITTEN_PROCESSED: Final = (
    "(OLD.processed_at IS NOT NULL AND NEW.processed_at IS DISTINCT FROM OLD.processed_at)"
    " OR (NEW.status = 1) <> (NEW.processed_at IS NOT NULL)"
)
_NOT_NEW_BORN: Final = (
    "NEW.status <> 0 OR NEW.outcome IS NOT NULL OR NEW.processed_at IS NOT NULL"
    " OR NEW.amount_cents <= 0 OR length(NEW.currency) <> 3"
)
# A new request for a parked refund: its requester and reason replace the former ones, which move to asked_before.
_ASKED_ANEW: Final = (
    "coalesce(OLD.outcome, '') = 'parked' AND OLD.status = 2"
    " AND NEW.asked_before IS NOT NULL AND NEW.asked_before IS DISTINCT FROM OLD.asked_before"
)
_REWRITTEN_FACTS: Final = (
    f"{_changed(_WRITTEN_FOR_EVER)} OR {_changed_once_known(_WRITTEN_ONCE)}"
    f" OR (NOT ({_ASKED_ANEW}) AND ({_changed_once_known(('requested_by',))} OR {_rewritten(('reason',))}))"
    " OR (OLD.asked_before IS NOT NULL AND NEW.asked_before IS NULL)"
)
_REWRITTEN_GRANT: Final = (
    f"{_changed(_GRANT_WRITTEN_FOR_EVER)} OR {_changed_once_known(_GRANT_WRITTEN_ONCE)}"
    f" OR {_rewritten(_GRANT_ERASABLE)}"
    " OR (OLD.ends_at IS NULL) <> (NEW.ends_at IS NULL)"
)
# A kind may become known later, because an older Bot API server does not tell every kind.
_REWRITTEN_ROW: Final = (
    f"{_changed(_ROW_WRITTEN_FOR_EVER)} OR {_changed_once_known(_ROW_WRITTEN_ONCE)}"
    " OR (OLD.kind <> 'unknown' AND NEW.kind <> OLD.kind)"
)

_VIEW: Final = (
    "CREATE VIEW active_entitlements AS "
    "SELECT e.user_id, u.telegram_id, e.entitlement_type, e.expires_at "
    "FROM entitlements e JOIN users u ON u.id = e.user_id "
    "WHERE e.revoked_at IS NULL AND (e.expires_at IS NULL OR e.expires_at > {now})"
)

# (name, table, moment, condition, words of the refusal)
_RULES: Final = (
    (
        "events_born_pending",
        "stripe_events",
        "INSERT",
        f"{_OURS_NEW} AND ({_NOT_NEW_BORN})",
        "an event is born pending, with a positive amount",
    ),
    ("events_kept", "stripe_events", "DELETE", _OURS_OLD, "money rows are for ever"),
    (
        "events_facts",
        "stripe_events",
        "UPDATE",
        f"({_OURS_OLD} AND ({_REWRITTEN_FACTS})) OR ({_OURS_NEW} AND OLD.origin IS DISTINCT FROM NEW.origin)",
        "the facts of an event are written once",
    ),
    (
        "events_moves",
        "stripe_events",
        "UPDATE",
        f"{_OURS_OLD} AND (({_BAD_MOVE}) OR ({_REWRITTEN_OUTCOME}) OR ({_BAD_OUTCOME}) OR ({_REWRITTEN_PROCESSED}))",
        "an event moves 0 to 1, 0 to 2, 2 to 1, and its outcome with it",
    ),
    ("grants_kept", "entitlement_grants", "DELETE", "OLD.id IS NOT NULL", "grants are for ever"),
    (
        "grants_facts",
        "entitlement_grants",
        "UPDATE",
        _REWRITTEN_GRANT,
        "the facts of a grant are written once",
    ),
    ("rows_kept", "ledger_rows", "DELETE", "OLD.id IS NOT NULL", "the rows of the ledger are for ever"),
    ("rows_facts", "ledger_rows", "UPDATE", _REWRITTEN_ROW, "the facts of the ledger are written once"),
    (
        "users_kept",
        "users",
        "DELETE",
        f"EXISTS (SELECT 1 FROM stripe_events WHERE customer_id = OLD.id AND origin = '{ORIGIN}')",  # noqa: S608 - a constant of ours in DDL
        "a user with audit rows is not deleted",
    ),
)


def _sqlite_trigger(name: str, table: str, moment: str, condition: str, words: str) -> str:
    return (
        f"CREATE TRIGGER starledger_{name} BEFORE {moment} ON {table} WHEN {condition} "
        f"BEGIN SELECT RAISE(ABORT, 'starledger: {words}'); END"
    )


def _postgresql_trigger(name: str, table: str, moment: str, condition: str, words: str) -> tuple[str, str]:
    kept = "OLD" if moment == "DELETE" else "NEW"
    # 23514 is check_violation, a refused value and not an outage.
    function = (
        f"CREATE FUNCTION starledger_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF {condition} THEN "
        f"RAISE EXCEPTION 'starledger: {words}' USING ERRCODE = '23514'; END IF; RETURN {kept}; END $$"
    )
    trigger = (
        f"CREATE TRIGGER starledger_{name} BEFORE {moment} ON {table} FOR EACH ROW EXECUTE FUNCTION starledger_{name}()"
    )
    return function, trigger


_POSTGRESQL_TRUNCATE: Final = (
    (
        "CREATE FUNCTION starledger_never() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'starledger: money rows are for ever' USING ERRCODE = '23514'; END $$"
    ),
    *(
        f"CREATE TRIGGER starledger_not_emptied BEFORE TRUNCATE ON {table} EXECUTE FUNCTION starledger_never()"
        for table in ("stripe_events", "entitlement_grants", "ledger_rows")
    ),
)


def create_statements(dialect_name: str) -> list[str]:
    """Return the DDL that creates the rules' triggers and view, on `sqlite` or `postgresql`."""
    view = [_view_statement(dialect_name)]
    if dialect_name == "sqlite":
        return [_sqlite_trigger(*rule) for rule in _RULES] + view
    return (
        [statement for rule in _RULES for statement in _postgresql_trigger(*rule)] + list(_POSTGRESQL_TRUNCATE) + view
    )


def drop_statements(connection: Connection) -> list[str]:
    """Return the DDL that drops the rules' triggers and view, so that a migration can alter the tables."""
    if connection.dialect.name == "sqlite":
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'starledger_%'"
        drops = [f"DROP TRIGGER {name}" for name in connection.exec_driver_sql(query).scalars()]
    else:
        query = (
            "SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
            "WHERE n.nspname = current_schema() AND starts_with(p.proname, 'starledger_')"
        )
        drops = [f"DROP FUNCTION {name}() CASCADE" for name in connection.exec_driver_sql(query).scalars()]
    return [*drops, "DROP VIEW IF EXISTS active_entitlements"]


def _view_statement(dialect_name: str) -> str:
    now = "strftime('%Y-%m-%d %H:%M:%f', 'now')" if dialect_name == "sqlite" else "(now() AT TIME ZONE 'UTC')"
    return _VIEW.format(now=now)
