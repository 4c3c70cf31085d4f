"""Updates that bear money and that the audit table would not take: kept raw, and the admins are told."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy.ext.asyncio import AsyncSession

from db.insert import insert_into
from db.tables import QuarantinedUpdate
from payments.notices import Notice, owe

QUARANTINE_PREFIX: Final = "quarantine:"
"""Before a row's id where an event's id would stand: in its notice, and for taking it up again."""


async def quarantine(
    session: AsyncSession, update: Mapping[str, Any], reason: str, alert_chat_ids: Iterable[int], now: datetime
) -> None:
    """Keep a raw update, with why it could not be recorded. The same update again changes nothing."""
    # ASCII escapes make a NUL or a lone surrogate harmless to the database, and lose neither.
    raw = json.dumps(update, ensure_ascii=True, sort_keys=True)
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
    for chat_id in alert_chat_ids:
        await owe(
            session,
            Notice.QUARANTINED,
            event_id=event_id,
            chat_id=chat_id,
            facts={"reason": reason, "retry_id": event_id},
            now=now,
        )
