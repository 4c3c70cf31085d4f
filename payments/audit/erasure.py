"""Erasing a person on request: the name and every text are gone, the money and the Telegram id stay.

The rows of money are what the seller has to keep and what Telegram's ledger is compared with; the id is their key. No
later update brings the name back: the user's row says that it was erased.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import ORIGIN, EntitlementGrant, OutboxMessage, QuarantinedUpdate, StripeEvent, User
from entitlements.service import lock_users
from payments.audit.nested_json import is_deep, read_json
from payments.notices import Notice

_PERSON: Final = ("id", "type", "is_bot")
_NAMES: Final = frozenset({"first_name", "last_name", "username", "language_code"})
"""What tells a person, or a private chat, from whatever else an update holds (Bot API, User and Chat)."""
_MESSAGE: Final = ("message_id", "date", "from", "chat", "successful_payment", "refunded_payment")
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Erased:
    """What was emptied: reasons of refunds, reasons of grants, notices, and updates in quarantine; and what stays."""

    reasons: int
    grant_reasons: int
    notices: int
    updates: int
    kept_events: int


async def erase(session: AsyncSession, telegram_id: int, now: datetime) -> Erased | None:
    """Erase a person; None: nobody has this id. To do it again erases what has come since."""
    users = await lock_users(session, User.telegram_id == telegram_id)
    if not users:
        return None
    [user] = users
    user.username = user.language_code = None
    user.erased_at = now
    # Another service's rows on a shared database are that one's to erase.
    theirs = and_(StripeEvent.customer_id == user.id, StripeEvent.origin == ORIGIN)
    reasons = update(StripeEvent).where(theirs, StripeEvent.reason != "").values(reason="")
    grants = update(EntitlementGrant).where(EntitlementGrant.user_id == user.id)
    grant_reasons = grants.where(EntitlementGrant.grant_reason != "").values(grant_reason="")
    revoke_reasons = grants.where(EntitlementGrant.revoke_reason != "").values(revoke_reason="")
    erased = [
        len((await session.execute(each.returning(table.id))).all())
        for each, table in (
            (reasons, StripeEvent),
            (grant_reasons, EntitlementGrant),
            (revoke_reasons, EntitlementGrant),
        )
    ]
    asked = select(StripeEvent).where(theirs, StripeEvent.asked_before.is_not(None))
    for refund in await session.scalars(asked):
        # Who asked stays, as `requested_by` does.
        refund.asked_before = json.dumps([(by, "") for by, _ in json.loads(refund.asked_before or "[]")])
    notices = await _erase_notices(session, user)
    updates = await _erase_quarantined(session, telegram_id)
    kept = await session.scalar(select(func.count()).select_from(StripeEvent).where(theirs)) or 0
    return Erased(erased[0], erased[1] + erased[2], notices, updates, kept)


async def _erase_notices(session: AsyncSession, user: User) -> int:
    """Empty what was told, and take the reason out of what is still to be told."""
    about = select(StripeEvent.event_id).where(StripeEvent.customer_id == user.id)
    # What is told of an object at Stripe has that object's id, and names the buyer in its JSON.
    named = (OutboxMessage.facts.contains(f'"buyer": {user.telegram_id}{end}') for end in ",}")
    query = select(OutboxMessage).where(
        or_(OutboxMessage.chat_id == user.telegram_id, OutboxMessage.event_id.in_(about), *named),
        OutboxMessage.facts != "{}",
    )
    count = 0
    for message in await session.scalars(query):
        facts = json.loads(message.facts)
        if message.sent_at is not None or (message.due_at is None and message.error is not None):
            message.facts = "{}"
        elif message.kind == Notice.REFUNDED and facts.get("reason"):
            message.facts = json.dumps(facts | {"reason": None})
        else:
            continue
        count += 1
    return count


async def _erase_quarantined(session: AsyncSession, telegram_id: int) -> int:
    """Leave of each update in quarantine what its money is, and whose by the id alone."""
    count = 0
    last = ""
    while True:
        query = select(QuarantinedUpdate).where(QuarantinedUpdate.id > last).order_by(QuarantinedUpdate.id)
        rows = (await session.scalars(query.limit(_BATCH))).all()
        for row in rows:
            raw = read_json(row.raw)
            if not isinstance(raw, dict):
                # What cannot be read may name anybody: nothing of it can be recorded any more, and nothing is kept.
                raw = {}
            elif not _is_about(raw, telegram_id) and not (is_deep(row.raw) and str(telegram_id) in row.raw):
                continue
            bare = json.dumps(_bare_update(raw), sort_keys=True)
            if bare != row.raw:
                row.raw = bare
                count += 1
        if len(rows) < _BATCH:
            return count
        last = rows[-1].id


def _is_about(value: Any, telegram_id: int) -> bool:
    """Tell whether an update, or a part of it, names a person or a private chat by this id."""
    if isinstance(value, dict):
        return value.get("id") == telegram_id or any(_is_about(each, telegram_id) for each in value.values())
    return isinstance(value, list) and any(_is_about(each, telegram_id) for each in value)


def _bare_update(raw: dict[str, Any]) -> dict[str, Any]:
    message = raw.get("message")
    if isinstance(message, dict):
        raw = raw | {"message": {name: message[name] for name in _MESSAGE if name in message}}
    bare: dict[str, Any] = without_names(raw)
    return bare


def without_names(value: Any) -> Any:
    """Leave of each person and chat the id and what kind it is, and of a payment by card no address."""
    if isinstance(value, list):
        return [without_names(each) for each in value]
    if not isinstance(value, dict):
        return value
    if _NAMES & value.keys():
        return {name: value[name] for name in _PERSON if name in value}
    # Bot API, OrderInfo: name, telephone, address.
    return {name: without_names(each) for name, each in value.items() if name != "order_info"}
