"""Requests for refunds: writes the row of a refund before the worker calls its provider.

payments/refunds/sending.py sends the refund, and settlement closes the same row. At most one refund of a charge waits
for its provider. The amount of a row never changes: a refund of the remainder replaces one that asks for more
(payments/settlement/refused_refunds.py).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from db.states import ORIGIN, EventOutcome, EventStatus
from db.tables import StripeEvent, User, new_id
from payments.audit import events, transitions
from payments.audit.balance import completing_refund, contradiction, is_at_provider, remainder
from payments.audit.events import find_named
from payments.audit.facts import apart_id, refund_id
from payments.audit.history import asked_before
from payments.errors import RefundRefusal, RefundRefusedError
from payments.methods import METHODS
from payments.notices import Notice, money_facts, owe

REASON_LENGTH_MAX: Final = 200
"""Characters of a refund's reason: the buyer reads the reason at the end of a message."""

ASKED_BEFORE_MAX: Final = 20
"""Earlier requests that a refund keeps: the first one and the latest."""


@dataclass(frozen=True, slots=True)
class RequestedRefund:
    """A refund on record, with its buyer, who gets the money back, and its charge."""

    refund: StripeEvent
    buyer: User
    charge: StripeEvent | None


async def read_requested(session: AsyncSession, refund: StripeEvent) -> RequestedRefund:
    """Read the buyer and the charge of a requested refund."""
    buyer = await session.get_one(User, refund.customer_id)
    return RequestedRefund(refund, buyer, await events.find_charge(session, refund.refund_of))


async def request_refund(
    session: AsyncSession,
    charge_id: str,
    *,
    reason: str | None,
    requested_by: str,
    reply_chat_id: int | None,
    now: datetime,
    reply_topic_id: int | None = None,
) -> StripeEvent:
    """Record a refund of a charge, due at once, with its requester and reason; make a parked one due again.

    A new refund is of the remainder of the charge. A parked refund keeps its amount, because the provider may have made
    it; it takes the new requester and reason, and keeps the earlier ones (`asked_before` in payments/audit/history.py).

    `charge_id` may also be the UUID of the row of the charge, or of one of its refunds. The desk tells the chat
    `reply_chat_id`, in its topic `reply_topic_id`, when the refund is through. Raises RefundRefusedError.
    """
    charge = await events.lock(session, await _charge_named(session, charge_id))
    if charge is None or charge.refund_of is not None:
        raise RefundRefusedError(RefundRefusal.UNKNOWN)
    charge_id = charge.event_id
    if charge.origin != ORIGIN:
        raise RefundRefusedError(RefundRefusal.NOT_OURS)
    refund = _blocking_refund(charge, await events.refunds_of(session, charge_id))
    if refund is None:
        refund = await record_refund_request(session, charge, reason=reason, requested_by=requested_by, now=now)
    elif refund.outcome == EventOutcome.PARKED:
        _change_requester(refund, reason, requested_by)
        transitions.take_up(refund, now)
    else:
        raise _refusal(refund, reason, requested_by)
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
    """Return the id of the charge to refund; `name` is its id, its row's UUID, or the UUID of one of its refunds."""
    event = await find_named(session, name)
    return name if event is None or event.event_id == name else event.refund_of or event.event_id


async def record_refund_request(
    session: AsyncSession, charge: StripeEvent, *, reason: str | None, requested_by: str, now: datetime
) -> StripeEvent:
    """Record a refund of a charge's remainder, due at once; if another refund blocks it, return that one instead.

    The caller holds the user's lock. Raises RefundRefusedError when the charge has no remainder.
    """
    rows = await events.refunds_of(session, charge.event_id)
    blocking = _blocking_refund(charge, rows)
    if blocking is not None:
        return blocking
    amount = remainder(charge, rows)
    if amount <= 0:
        last = completing_refund(charge, rows)
        raise (
            RefundRefusedError(RefundRefusal.ALREADY_REFUNDED) if last is None else _refusal(last, reason, requested_by)
        )
    method = METHODS[charge.payment_method]
    row_id = new_id()
    event_id = refund_id(charge.event_id)
    if await events.find(session, event_id) is not None:
        if not method.gives_back_parts:
            # Telegram names no part of a charge. An update or a ledger row that reports the refund later gets this same
            # id, so that both are one row (fact_rows.record).
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
    """Read, without a lock, the refund of a charge that waits for its provider or is parked; None: there is none."""
    charge = await events.find_charge(session, charge_id)
    blocking = None if charge is None else _blocking_refund(charge, await events.refunds_of(session, charge_id))
    return None if blocking is None or is_at_provider(blocking) else blocking


async def was_fully_refunded(session: AsyncSession, charge_id: str) -> bool:
    """Tell whether refunds ever gave back all of a charge, which ended its access."""
    charge = await events.find_charge(session, charge_id)
    return charge is not None and completing_refund(charge, await events.refunds_of(session, charge_id)) is not None


def _change_requester(refund: StripeEvent, reason: str | None, requested_by: str) -> None:
    """Write the new requester and reason into a parked refund, and keep the earlier ones.

    A request without a reason leaves the earlier reason standing.
    """
    if requested_by == refund.requested_by and reason in {None, refund.reason}:
        return
    first, *later = [*asked_before(refund), (refund.requested_by, refund.reason)]
    before = [first, *later[-(ASKED_BEFORE_MAX - 1) :]]
    refund.asked_before = json.dumps(before)
    refund.requested_by = requested_by
    refund.reason = reason or refund.reason


def _refusal(refund: StripeEvent, reason: str | None, requested_by: str) -> RefundRefusedError:
    """Return the refusal of a request beside a refund on record, with that refund's requester and reason, if others."""
    refusal = RefundRefusal.ALREADY_REFUNDED if is_at_provider(refund) else RefundRefusal.UNDER_WAY
    if requested_by == refund.requested_by and reason in {None, refund.reason}:
        return RefundRefusedError(refusal)
    return RefundRefusedError(refusal, refund.requested_by, refund.reason)


def _blocking_refund(charge: StripeEvent, refunds: Sequence[StripeEvent]) -> StripeEvent | None:
    """Return the refund that blocks another request for its charge; None: no refund blocks it.

    A refund that waits for its provider blocks. If the method refunds whole charges only, any refund that does not
    contradict the charge blocks.
    """
    true = [row for row in refunds if contradiction(row, charge) is None]
    if not METHODS[charge.payment_method].gives_back_parts:
        return next(iter(true), None)
    return next((row for row in true if not is_at_provider(row) and row.outcome != EventOutcome.REPLACED), None)
