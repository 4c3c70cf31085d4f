"""Resolves refunds that contradict their charge or each other: records the true one, replaces the wrong ones.

Two refunds of a charge may contradict each other before the charge is on record. The first one then has the row, and
the other one waits in quarantine, because only the charge tells which of them is true.
"""

import json
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.states import EventOutcome
from db.tables import QuarantinedUpdate, StripeEvent, User
from payments.audit import events, fact_rows, transitions
from payments.audit.balance import completing_refund, contradiction
from payments.audit.facts import Fact, RefundFact
from payments.audit.nested_json import read_json
from payments.errors import UnrecordableError
from payments.methods import METHODS
from payments.recording.updates import read_fact

READ_MAX: Final = 20
"""Quarantined updates that the desk reads for one charge."""


async def record_from_quarantine(session: AsyncSession, charge: StripeEvent, buyer: User, clock: Clock) -> bool:
    """Record the quarantined refunds that agree with their charge on record; return whether there were any.

    The caller holds the buyer's lock. Raises SQLAlchemy's errors when the database is away.
    """
    # The raw text is JSON in ASCII, and writes the id like this.
    charge_id = json.dumps(METHODS[charge.payment_method].provider_charge_id(charge.event_id))
    query = (
        select(QuarantinedUpdate)
        .where(QuarantinedUpdate.resolved_at.is_(None))
        .where(QuarantinedUpdate.raw.contains("refunded_payment"))
        .where(QuarantinedUpdate.raw.contains(charge_id, autoescape=True))
        .order_by(QuarantinedUpdate.created_at, QuarantinedUpdate.id)
        .limit(READ_MAX)
    )
    is_any = False
    for row in (await session.scalars(query)).all():
        fact = _read(row)
        if isinstance(fact, RefundFact) and _agrees(fact, charge, buyer):
            await fact_rows.record(session, [fact], clock())
            row.resolved_at = clock()
            is_any = True
    return is_any


async def replace_contradicting(session: AsyncSession, charge: StripeEvent) -> None:
    """Replace the parked refunds that contradict a charge; the caller has seen other refunds give back all of it."""
    for row in await events.refunds_of(session, charge.event_id):
        if row.outcome == EventOutcome.PARKED and (mismatch := contradiction(row, charge)) is not None:
            transitions.replace(row, mismatch)


async def is_charge_refunded(session: AsyncSession, fact: Fact) -> bool:
    """Tell whether other refunds gave back all of a contradicting refund's charge: then the refund needs no admin."""
    charge = await events.find_charge(session, fact.charge_id) if isinstance(fact, RefundFact) else None
    return (
        charge is not None and completing_refund(charge, await events.refunds_of(session, charge.event_id)) is not None
    )


def _agrees(fact: RefundFact, charge: StripeEvent, buyer: User) -> bool:
    if (fact.charge_id, fact.person.telegram_id) != (charge.event_id, buyer.telegram_id):
        return False
    as_row = StripeEvent(
        event_type=fact.event_type,
        customer_id=charge.customer_id,
        amount_cents=fact.amount,
        currency=fact.currency,
    )
    return contradiction(as_row, charge) is None


def _read(row: QuarantinedUpdate) -> Fact | None:
    try:
        return read_fact(read_json(row.raw) or {})
    except (UnrecordableError, LookupError):
        return None
