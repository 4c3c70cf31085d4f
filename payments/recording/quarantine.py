"""Quarantine: keeps raw updates with money that the desk cannot record, and tells the admins.

It keeps rows of Telegram's ledger that do not fit their table too, resolved from the start; the reconciliation reports
them.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy.ext.asyncio import AsyncSession

from db.insert import insert_into
from db.tables import QuarantinedUpdate
from payments.audit.erasure import without_names
from payments.audit.nested_json import pruned, read_json
from payments.notices import Admins, Notice

QUARANTINE_PREFIX: Final = "quarantine:"
"""Prefix of a quarantined row's key, which stands for an event's id in notices and retries."""

LEDGER_UPDATE_ID: Final = 0
"""The `update_id` of a quarantined ledger row: Telegram's own begin at 1 (Bot API, Update)."""
RAW_LENGTH_MAX: Final = 16_000
"""Characters; of a longer ledger row the quarantine keeps the length alone."""


async def quarantine_update(
    session: AsyncSession, update: Mapping[str, Any], reason: str, admins: Admins, now: datetime
) -> None:
    """Quarantine a raw update with the reason, and tell the admins. The same update again changes nothing."""
    # ASCII escapes make a NUL or a lone surrogate harmless to the database, and lose neither.
    raw = json.dumps(pruned(update), ensure_ascii=True, sort_keys=True)
    row = {
        "id": str(uuid5(NAMESPACE_URL, raw)),
        "update_id": update["update_id"],
        "raw": raw,
        "reason": reason,
        "created_at": now,
    }
    insert = insert_into(session, QuarantinedUpdate).on_conflict_do_nothing(index_elements=["id"])
    await session.execute(insert, row)
    event_id = f"{QUARANTINE_PREFIX}{row['id']}"
    await admins.tell(session, Notice.QUARANTINED, event_id, {"reason": reason, "retry_id": event_id}, now)


async def quarantine_ledger_row(
    session: AsyncSession, row: str | Mapping[str, Any], reason: str, now: datetime
) -> None:
    """Quarantine a ledger row with the reason and without people's names, resolved from the start.

    `row` is raw JSON, or the fields that the ledger pass has read. It starts resolved because nobody can retry it. The
    same row again changes nothing.
    """
    text = row if isinstance(row, str) else json.dumps(row, sort_keys=True)
    said = without_names(read_json(text)) if len(text) <= RAW_LENGTH_MAX else {"length": len(text)}
    raw = json.dumps({"ledger_row": said, "update_id": LEDGER_UPDATE_ID}, ensure_ascii=True, sort_keys=True)
    values = {
        "id": str(uuid5(NAMESPACE_URL, raw)),
        "update_id": LEDGER_UPDATE_ID,
        "raw": raw,
        "reason": reason,
        "created_at": now,
        "resolved_at": now,
    }
    insert = insert_into(session, QuarantinedUpdate).on_conflict_do_nothing(index_elements=["id"])
    await session.execute(insert, values)
