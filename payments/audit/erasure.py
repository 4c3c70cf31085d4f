"""Erases a person on request: names and texts go, the money and the Telegram id stay.

The seller has to keep the rows of money, and reconciliation compares them with Telegram's ledger by the Telegram id. A
later update leaves the name empty, because the user's row has the date of the erasure.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.states import ORIGIN
from db.tables import EntitlementGrant, OutboxMessage, QuarantinedUpdate, StripeEvent, User
from db.users import lock_users
from payments.audit.nested_json import is_deep, read_json
from payments.notices import Notice

_KEPT_FIELDS: Final = ("id", "type", "is_bot")
_PERSONAL_FIELDS: Final = frozenset({"first_name", "last_name", "username", "language_code"})
"""Fields that only a person, or a private chat, has in an update (Bot API, User and Chat)."""
_KEPT_MESSAGE_FIELDS: Final = ("message_id", "date", "from", "chat", "successful_payment", "refunded_payment")
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Erased:
    """The counts of an erasure: emptied refund reasons, grant reasons, notices and updates, and kept audit rows."""

    reasons: int
    grant_reasons: int
    notices: int
    updates: int
    kept_events: int


async def erase(session: AsyncSession, telegram_id: int, now: datetime) -> Erased | None:
    """Erase a person's names and texts, and return the counts; None: the Telegram id is unknown.

    A second erasure empties the texts that came after the first.
    """
    users = await lock_users(session, User.telegram_id == telegram_id)
    if not users:
        return None
    [user] = users
    user.username = user.language_code = None
    user.erased_at = now
    # Another service on the same database erases its own rows.
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
        # The admin's id stays, as in `requested_by`.
        refund.asked_before = json.dumps([(by, "") for by, _ in json.loads(refund.asked_before or "[]")])
    notices = await _erase_notices(session, user)
    updates = await _erase_quarantined(session, telegram_id)
    kept = await session.scalar(select(func.count()).select_from(StripeEvent).where(theirs)) or 0
    return Erased(erased[0], erased[1] + erased[2], notices, updates, kept)


async def _erase_notices(session: AsyncSession, user: User) -> int:
    """Empty the delivered and the dropped notices about a person, and the reasons in waiting ones; count them."""
    about = select(StripeEvent.event_id).where(StripeEvent.customer_id == user.id)
    # A notice about an object at Stripe has that object's id as its key, and names the buyer in its JSON.
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
    """Reduce a person's quarantined updates to their money and the Telegram id; return the number changed."""
    count = 0
    last = ""
    while True:
        query = select(QuarantinedUpdate).where(QuarantinedUpdate.id > last).order_by(QuarantinedUpdate.id)
        rows = (await session.scalars(query.limit(_BATCH))).all()
        for row in rows:
            raw = read_json(row.raw)
            if not isinstance(raw, dict):
                # Unreadable JSON may name anybody, and no retry can record it: keep nothing.
                raw = {}
            elif not _names_person(raw, telegram_id) and not (is_deep(row.raw) and str(telegram_id) in row.raw):
                continue
            bare = json.dumps(_reduce_update(raw), sort_keys=True)
            if bare != row.raw:
                row.raw = bare
                count += 1
        if len(rows) < _BATCH:
            return count
        last = rows[-1].id


def _names_person(value: Any, telegram_id: int) -> bool:
    """Tell whether an update, or a part of it, names a person by the id of the user or of the private chat."""
    if isinstance(value, dict):
        return value.get("id") == telegram_id or any(_names_person(each, telegram_id) for each in value.values())
    return isinstance(value, list) and any(_names_person(each, telegram_id) for each in value)


def _reduce_update(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a quarantined update reduced to its money and the ids in it."""
    message = raw.get("message")
    if isinstance(message, dict):
        raw = raw | {"message": {name: message[name] for name in _KEPT_MESSAGE_FIELDS if name in message}}
    bare: dict[str, Any] = without_names(raw)
    return bare


def without_names(value: Any) -> Any:
    """Return an update's JSON without names: people and chats keep id and kind, card payments lose the address."""
    if isinstance(value, list):
        return [without_names(each) for each in value]
    if not isinstance(value, dict):
        return value
    if _PERSONAL_FIELDS & value.keys():
        return {name: value[name] for name in _KEPT_FIELDS if name in value}
    # Bot API, OrderInfo: name, telephone, address.
    return {name: without_names(each) for name, each in value.items() if name != "order_info"}
