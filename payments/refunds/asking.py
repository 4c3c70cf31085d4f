"""Refunds: asked for on record. payments/refunds/sending.py sends them, settlement confirms the same row.

Of one charge at most one refund waits to be made. A row's amount never changes: when less is left than it says, it is
replaced (payments/settlement/refused_refunds.py).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import ORIGIN, EventStatus, Outcome, StripeEvent, User, new_id
from payments.audit import events
from payments.audit.balance import completing_refund, contradiction, is_at_provider, remainder
from payments.audit.events import find_named
from payments.audit.facts import apart_id, refund_id
from payments.audit.history import asked_before
from payments.errors import RefundRefusal, RefundRefusedError
from payments.methods import METHODS
from payments.notices import Notice, money_facts, owe

REASON_LENGTH_MAX: Final = 200
"""Characters of a refund's reason: the buyer reads it in a message, below the rest."""

ASKED_BEFORE_MAX: Final = 20
"""Who asked before, as many as are kept: the first one and the latest."""


@dataclass(frozen=True, slots=True)
class RequestedRefund:
    """A refund on record, with the user who gets the money back and the charge that it is of."""

    refund: StripeEvent
    buyer: User
    charge: StripeEvent | None


async def read_requested(session: AsyncSession, refund: StripeEvent) -> RequestedRefund:
    """Read the buyer and the charge of a refund on record."""
    buyer = await session.get_one(User, refund.customer_id)
    return RequestedRefund(refund, buyer, await events.find_charge(session, refund.refund_of))


async def ask(
    session: AsyncSession,
    charge_id: str,
    *,
    reason: str | None,
    requested_by: str,
    reply_chat_id: int | None,
    now: datetime,
    reply_topic_id: int | None = None,
) -> StripeEvent:
    """Put the refund of a charge on record, due at once, with who asked and why; a parked one is taken up again.

    A parked one is then of who asks now, and for that reason; who asked before stays on record (`asked_before` in
    payments/audit/history.py).
    A new one is of what is left of the charge; a parked one stays of what was left then, since it may have been made.
    `charge_id` may be the UUID of the row of the charge, or of one of its refunds. `reply_chat_id`, in its topic
    `reply_topic_id`, is told when it is done. Raises RefundRefusedError.
    """
    charge = await events.lock(session, await _charge_named(session, charge_id))
    if charge is None or charge.refund_of is not None:
        raise RefundRefusedError(RefundRefusal.UNKNOWN)
    charge_id = charge.event_id
    if charge.origin != ORIGIN:
        raise RefundRefusedError(RefundRefusal.NOT_OURS)
    refund = _standing(charge, await events.refunds_of(session, charge_id))
    if refund is None:
        refund = await open_refund(session, charge, reason=reason, requested_by=requested_by, now=now)
    elif refund.outcome == Outcome.PARKED:
        _ask_anew(refund, reason, requested_by)
        refund.due_at = now
        refund.attempts = 0
    else:
        raise _refused(refund, reason, requested_by)
    if reply_chat_id is not None:
        user = await session.get_one(User, charge.customer_id)
        facts = money_facts(refund) | {"buyer": user.telegram_id}
        await owe(
            session,
            Notice.REFUND_DONE,
            event_id=refund.event_id,
            chat_id=reply_chat_id,
            facts=facts,
            now=now,
            held=True,
            topic_id=reply_topic_id,
        )
    return refund


async def _charge_named(session: AsyncSession, name: str) -> str:
    """Return the id of the charge that is named by it, by the UUID of its row, or by that of a refund of it."""
    event = await find_named(session, name)
    return name if event is None or event.event_id == name else event.refund_of or event.event_id


async def open_refund(
    session: AsyncSession, charge: StripeEvent, *, reason: str | None, requested_by: str, now: datetime
) -> StripeEvent:
    """Write the audit row of a refund that is to be sent, of what is left of the charge; one that waits stays.

    The caller holds the user's lock. Raises RefundRefusedError when nothing is left.
    """
    rows = await events.refunds_of(session, charge.event_id)
    standing = _standing(charge, rows)
    if standing is not None:
        return standing
    amount = remainder(charge, rows)
    if amount <= 0:
        last = completing_refund(charge, rows)
        raise (
            RefundRefusedError(RefundRefusal.ALREADY_REFUNDED) if last is None else _refused(last, reason, requested_by)
        )
    method = METHODS[charge.payment_method]
    row_id = new_id()
    event_id = refund_id(charge.event_id)
    if await events.find(session, event_id) is not None:
        if not method.gives_back_parts:
            # As it is told of later, whoever tells of it: then it is the same row (events.record).
            user = await session.get_one(User, charge.customer_id)
            row_id = apart_id(event_id, user.telegram_id or 0, amount, charge.currency)
        event_id = refund_id(charge.event_id, row_id)
    refund = StripeEvent(
        id=row_id,
        event_id=event_id,
        event_type=method.refund_type,
        payment_method=method.name,
        customer_id=charge.customer_id,
        amount_cents=amount,
        currency=charge.currency,
        status=EventStatus.PENDING,
        created_at=now,
        origin=ORIGIN,
        refund_of=charge.event_id,
        reason=reason,
        requested_by=requested_by,
        due_at=now,
    )
    session.add(refund)
    await session.flush()
    return refund


async def find_waiting(session: AsyncSession, charge_id: str) -> StripeEvent | None:
    """Read the refund of a charge that waits to be made, or that is parked, without a lock."""
    charge = await events.find_charge(session, charge_id)
    standing = None if charge is None else _standing(charge, await events.refunds_of(session, charge_id))
    return None if standing is None or is_at_provider(standing) else standing


async def went_back_whole(session: AsyncSession, charge_id: str) -> bool:
    """Tell a charge of which all was back at some time, which has ended what it opened; without a lock."""
    charge = await events.find_charge(session, charge_id)
    return charge is not None and completing_refund(charge, await events.refunds_of(session, charge_id)) is not None


def _ask_anew(refund: StripeEvent, reason: str | None, requested_by: str) -> None:
    """Put on record who asks for a parked refund now, and why; without a reason the one before stays."""
    if requested_by == refund.requested_by and reason in {None, refund.reason}:
        return
    first, *later = [*asked_before(refund), (refund.requested_by, refund.reason)]
    before = [first, *later[-(ASKED_BEFORE_MAX - 1) :]]
    refund.asked_before = json.dumps(before)
    refund.requested_by = requested_by
    refund.reason = reason or refund.reason


def _refused(refund: StripeEvent, reason: str | None, requested_by: str) -> RefundRefusedError:
    """Say why a refund is not asked for beside one that stands, and whose that is if it is not the same request."""
    refusal = RefundRefusal.ALREADY_REFUNDED if is_at_provider(refund) else RefundRefusal.UNDER_WAY
    if requested_by == refund.requested_by and reason in {None, refund.reason}:
        return RefundRefusedError(refusal)
    return RefundRefusedError(refusal, refund.requested_by, refund.reason)


def _standing(charge: StripeEvent, refunds: Sequence[StripeEvent]) -> StripeEvent | None:
    """Return the refund that leaves no place for another one: it waits to be made; of a method without parts, any."""
    true = [row for row in refunds if contradiction(row, charge) is None]
    if not METHODS[charge.payment_method].gives_back_parts:
        return next(iter(true), None)
    return next((row for row in true if not is_at_provider(row) and row.outcome != Outcome.REPLACED), None)
