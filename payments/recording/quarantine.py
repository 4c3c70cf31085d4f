"""Updates that bear money and that the audit table would not take: kept raw, and the admins are told.

Beside them, at rest, rows of Telegram's ledger that cannot be kept as they are: of those the comparison tells.
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
"""Before a row's id where an event's id would stand: in its notice, and for taking it up again."""

LEDGER_UPDATE_ID: Final = 0
"""In `update_id` of a row of the ledger: Telegram's updates begin at 1 (Bot API, Update)."""
RAW_LENGTH_MAX: Final = 16_000
"""Of a row of the ledger; of what is longer the length alone is kept."""


async def quarantine(
    session: AsyncSession, update: Mapping[str, Any], reason: str, admins: Admins, now: datetime
) -> None:
    """Keep a raw update, with why it could not be recorded. The same update again changes nothing."""
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


async def keep_raw(session: AsyncSession, row: str | Mapping[str, Any], reason: str, now: datetime) -> None:
    """Keep a row of the ledger, as JSON or as what was read of it, without names, and why it cannot be kept otherwise.

    It does not wait for anybody: there is nothing to retry. The same row again changes nothing.
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
