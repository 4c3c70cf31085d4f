"""`erase` and every column of every table: a new column fails here until somebody has decided."""

import json
import sqlite3
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import select

from db.engine import Database
from db.tables import Base, QuarantinedUpdate
from db.write_ahead_log import empty_write_ahead_log
from payments.audit.erasure import erase
from payments.audit.facts import Person
from payments.audit.nested_json import DEPTH_MAX, pruned, read_json
from payments.notices import Admins
from payments.recording.quarantine import quarantine_ledger_row, quarantine_update
from tests.support.clock import FakeClock
from tests.support.desk import Desk
from tests.support.money import BUYER, charge, charge_update

pytestmark = pytest.mark.engines("sqlite", "postgresql")

EMPTIED: Final = {
    "users": {"username", "language_code"},
    "stripe_events": {"reason"},
    "entitlement_grants": {"grant_reason", "revoke_reason"},
    "outbox": {"facts"},
    "quarantine": {"raw"},
}
"""Texts that a person wrote, or that name one."""
KEPT: Final = {
    "checkouts": {"declined_on", "query_id", "currency", "payload", "verdict"},
    "entitlement_grants": {"id", "user_id", "entitlement_type", "source", "granted_by", "revoked_by"},
    "entitlements": {"user_id", "entitlement_type"},
    "ledger": {"latest"},
    "ledger_rows": {"id", "direction", "kind", "state", "charge_id"},
    "offered_terms": {"plan", "term", "currency"},
    "outbox": {"event_id", "kind", "error"},
    "quarantine": {"id", "reason"},
    "stripe_events": {
        "id",
        "event_id",
        "event_type",
        "payment_method",
        "customer_id",
        "currency",
        "outcome",
        "origin",
        "refund_of",
        "requested_by",
        "asked_before",
        "payload",
        "error",
        "attempt_key",
    },
    "subscription_changes": {"user_id", "payload", "state", "charge_id"},
    "subscriptions": {
        "id",
        "first_charge_id",
        "last_charge_id",
        "user_id",
        "plan",
        "payload",
        "state",
        "renewal_wanted",
        "wanted_because",
        "error",
    },
    "users": {"id"},
}
"""Ids, words of the program's own, of Telegram's and of Stripe's, and who gave an order: no text about the person."""


def test_every_text_that_could_name_somebody_is_decided_about() -> None:
    texts = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if column.type.python_type is str
    }
    decided = [f"{table}.{column}" for of in (EMPTIED, KEPT) for table, columns in of.items() for column in columns]
    assert sorted(texts) == sorted(decided)


def _nested(depth: int, inside: Any) -> Any:
    for _ in range(depth):
        inside = [inside]
    return inside


@pytest.mark.parametrize("depth", [3, DEPTH_MAX, 900, 100_000])
async def test_name_in_a_nested_update_is_erased(desk: Desk, depth: int) -> None:
    await desk.take(charge(payer=Person(BUYER.telegram_id, "Sophie_Doe", "fr")))
    raw = "[" * depth + json.dumps({"id": BUYER.telegram_id, "first_name": "Sophie_Doe"}) + "]" * depth
    async with desk.database.transaction() as session:
        kept = '{"message": ' + raw + "}"
        session.add(QuarantinedUpdate(id="q" * 36, update_id=3, raw=kept, reason="odd", created_at=desk.clock()))
    async with desk.database.transaction() as session:
        assert await erase(session, BUYER.telegram_id, desk.clock()) is not None
    async with desk.database.reading() as session:
        assert "Sophie_Doe" not in (await session.scalars(select(QuarantinedUpdate.raw))).one()


async def test_an_update_that_is_nested_too_deep_is_kept_as_far_as_it_goes(desk: Desk) -> None:
    deep = charge_update(charge()) | {"more": _nested(400, "the end")}
    async with desk.database.transaction() as session:
        await quarantine_update(session, deep, "odd", Admins(), desk.clock())
        await quarantine_ledger_row(session, "[" * 7000 + "]" * 7000, "odd", desk.clock())
        kept = (await session.scalars(select(QuarantinedUpdate.raw).where(QuarantinedUpdate.update_id != 0))).one()
    assert read_json(kept)["message"] == pruned(deep)["message"]
    assert "the end" not in kept


def _held(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.glob("desk.sqlite*"))


async def test_erased_name_is_in_no_file_of_sqlite(tmp_path: Path, sqlite_url: str) -> None:
    database = Database(sqlite_url)
    desk = Desk(database, FakeClock())
    await desk.take(charge(payer=Person(BUYER.telegram_id, "Sophie_Doe", "fr")))
    async with database.transaction() as session:
        await erase(session, BUYER.telegram_id, desk.clock())
    assert empty_write_ahead_log(tmp_path / "desk.sqlite")
    held = _held(tmp_path)
    await database.dispose()
    assert b"Sophie_Doe" not in held


def test_a_reader_keeps_the_log(tmp_path: Path) -> None:
    file = tmp_path / "d.db"
    writer = sqlite3.connect(file, isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE t (a)")
    reader = sqlite3.connect(file, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM t").fetchall()
    writer.execute("INSERT INTO t VALUES (1)")
    assert not empty_write_ahead_log(file)
    reader.close()
    assert empty_write_ahead_log(file)
    writer.close()
