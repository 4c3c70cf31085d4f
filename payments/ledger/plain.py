"""Settles plain ledger payments in bulk: one-time charges for a number of days, without a refund.

Most payments in a ledger are plain. A few statements settle a batch of them, with the same result that
payments/settlement/settlement.py reaches one by one. If one event of a buyer in the batch is not plain, the rebuild
settles all of that buyer's events one by one, because their order matters.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.states import EventOutcome, EventStatus
from db.tables import EntitlementGrant, StripeEvent, User
from entitlements.service import DaysGranted, EntitlementService
from payments.audit import transitions
from payments.methods import METHODS
from payments.sale.catalog import Catalog
from payments.sale.eligibility import Payer
from payments.sale.offered_terms import needs_no_proof_of_offer
from payments.sale.payload import PayloadSigner
from payments.settlement.judgement import Granted, Payment, judge


@dataclass(frozen=True, slots=True)
class _BatchFacts:
    """The facts for judging a batch's charges: refunded charges, and each user's lifetime entitlements."""

    refunded: frozenset[str]
    for_life: Mapping[str, frozenset[str]]


async def settle_plain_payments(
    session: AsyncSession,
    batch: Sequence[StripeEvent],
    users: Mapping[str, User],
    catalog: Catalog,
    signer: PayloadSigner,
    clock: Clock,
) -> list[StripeEvent]:
    """Settle the plain payments of a batch of open events in bulk; return the other events in their order.

    The buyers get no notice. The caller has locked the users (by `users.id`) and the events, and is within
    `defer_standings`.
    """
    beside = await _read_batch_facts(session, batch)
    of_user: defaultdict[str, list[tuple[StripeEvent, Granted] | None]] = defaultdict(list)
    for event in batch:
        granted = _judge_plain(event, users[event.customer_id], beside, catalog, signer)
        of_user[event.customer_id].append(None if granted is None else (event, granted))
    plain = [each for found in of_user.values() if None not in found for each in found if each is not None]
    now = clock()
    grants = [
        DaysGranted(
            event.customer_id,
            entitlement,
            METHODS[event.payment_method].source(event.event_id),
            event.webhook_timestamp,
            days,
            now if now < event.webhook_timestamp else None,
        )
        for event, granted in plain
        for entitlement in granted.plan.entitlements
        if event.webhook_timestamp is not None and (days := granted.order.days) is not None
    ]
    contradicted = await EntitlementService(session).grant_days(grants)
    settled = set()
    for event, _ in plain:
        if METHODS[event.payment_method].source(event.event_id) not in contradicted:
            transitions.close(event, EventOutcome.GRANTED, now)
            settled.add(event.event_id)
    await session.flush()
    return [event for event in batch if event.event_id not in settled]


def _judge_plain(
    event: StripeEvent, user: User, beside: _BatchFacts, catalog: Catalog, signer: PayloadSigner
) -> Granted | None:
    """Judge a charge for bulk settlement, and return its grant; None: the charge is not plain."""
    if event.refund_of is not None or event.status != EventStatus.PENDING or event.event_id in beside.refunded:
        return None
    if event.payload is None or event.webhook_timestamp is None or user.telegram_id is None:
        return None
    reading = signer.read(event.payload)
    if reading.order is None or reading.order.days is None:
        return None
    if not needs_no_proof_of_offer(reading, catalog):
        return None
    payment = Payment(event.amount_cents, event.currency)
    payer = Payer(user.telegram_id, beside.for_life.get(user.id, frozenset()))
    judgement = judge(payment, payer, reading, catalog, is_offered=True)
    return judgement if isinstance(judgement, Granted) else None


async def _read_batch_facts(session: AsyncSession, batch: Sequence[StripeEvent]) -> _BatchFacts:
    """Read the refunded charges of a batch and the lifetime entitlements of its users."""
    refunds = select(StripeEvent.refund_of).where(StripeEvent.refund_of.in_({event.event_id for event in batch}))
    # Grants of any date count, because the rebuild settles lifetime owners one by one.
    held = select(EntitlementGrant.user_id, EntitlementGrant.entitlement_type).where(
        EntitlementGrant.user_id.in_({event.customer_id for event in batch}),
        EntitlementGrant.duration_days.is_(None),
        EntitlementGrant.ends_at.is_(None),
        EntitlementGrant.revoked_at.is_(None),
    )
    for_life: defaultdict[str, set[str]] = defaultdict(set)
    for user_id, entitlement_type in await session.execute(held):
        for_life[user_id].add(entitlement_type)
    refunded = frozenset(each for each in await session.scalars(refunds) if each is not None)
    return _BatchFacts(refunded, {user_id: frozenset(types) for user_id, types in for_life.items()})
