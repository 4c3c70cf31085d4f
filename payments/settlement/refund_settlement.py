"""Settles refunds: revokes the grants of a charge without a remainder, and tells the buyer and the admins."""

from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.states import BY_ITSELF, EventOutcome, EventStatus
from db.tables import StripeEvent, User
from entitlements.service import EntitlementService
from payments.audit import events, transitions
from payments.audit.balance import (
    completing_refund,
    contradiction,
    is_at_provider,
    is_refunded_after,
    refunded_at,
)
from payments.effects import Effects
from payments.methods import METHODS
from payments.notices import Notice
from payments.refunds.contradicting import record_from_quarantine, replace_contradicting
from payments.settlement.lateness import delay_source
from payments.settlement.parking import Parking
from payments.settlement.subscription_link import SubscriptionLink
from payments.subscriptions.grants import grace_source


class RefundSettlement:
    """Settles refunds that their provider has made, in the caller's transaction. The caller holds the user's lock."""

    def __init__(self, clock: Clock, effects: Effects, parking: Parking, link: SubscriptionLink) -> None:
        self._clock = clock
        self._effects = effects
        self._parking = parking
        self._link = link

    async def settle(self, session: AsyncSession, refund: StripeEvent) -> None:
        """Settle a refund that its provider has made.

        1. Park a refund that contradicts its charge; if other refunds gave back all of the charge, replace it instead.
        2. Close the row as refunded. The charge may not be on record yet: its own settlement then grants it born
           revoked.
        3. If the charge has no remainder, revoke its grants and end its subscription's renewal.
        4. Tell the admin who asked for the refund, the buyer, and, of a refund made outside, all admins.
        """
        now = self._clock()
        user = await session.get_one(User, refund.customer_id)
        charge = await events.find_charge(session, refund.refund_of)
        mismatch = contradiction(refund, charge) if charge is not None else None
        if charge is not None and mismatch is not None:
            await self._parking.park(session, refund, mismatch)
            if completing_refund(charge, await events.refunds_of(session, charge.event_id)) is not None:
                await self._tell_replaced(session, refund, user, mismatch)
                transitions.replace(refund, mismatch)
            return
        transitions.close(refund, EventOutcome.REFUNDED, now)
        last: StripeEvent | None = refund
        if charge is not None:
            if refund.amount_cents < charge.amount_cents:
                last = await self.find_completing(session, charge, user)
            if last is not None:
                await self._revoke_access(session, charge, last, user)
        await self._effects.tell_asker(session, refund, is_part=last is None)
        await self._tell_refunded(session, refund, charge, user, last)

    async def settle_returned(self, session: AsyncSession, returned: StripeEvent) -> None:
        """Close the row of a refund that returned to the seller, and tell the admins.

        The access stays as it is, because the seller still owes the buyer the money.
        """
        user = await session.get_one(User, returned.customer_id)
        transitions.close(returned, EventOutcome.RETURNED, self._clock())
        charge = await events.find_charge(session, returned.refund_of)
        last = None if charge is None else completing_refund(charge, await events.refunds_of(session, charge.event_id))
        stays = "open" if last is None else "closed"
        await self._effects.tell_admins(session, Notice.REFUND_FAILED, returned, user, returned.reason, stays=stays)

    async def find_completing(self, session: AsyncSession, charge: StripeEvent, user: User) -> StripeEvent | None:
        """Find the refund after which, in order of time, a charge had no remainder; None: it has always had one.

        If a refund on record contradicts the charge, the true ones in quarantine go on record first.
        """
        refunds = await events.refunds_of(session, charge.event_id)
        is_contradicted = False
        for refund in filter(is_at_provider, refunds):
            if (mismatch := contradiction(refund, charge)) is not None:
                is_contradicted = True
                if refund.status == EventStatus.PROCESSED:
                    await self._tell_replaced(session, refund, user, mismatch)
        if is_contradicted and await record_from_quarantine(session, charge, user, self._clock):
            refunds = await events.refunds_of(session, charge.event_id)
        return completing_refund(charge, refunds)

    async def _revoke_access(self, session: AsyncSession, charge: StripeEvent, last: StripeEvent, user: User) -> None:
        """Revoke the grants of a charge that has no remainder since the refund `last`, and end its renewal.

        Where the desk gave the charge back itself, it ends the renewal with that decision, and not here.
        """
        now = self._clock()
        await replace_contradicting(session, charge)
        if charge.outcome == EventOutcome.GRANTED:
            service = EntitlementService(session)
            at = refunded_at(last) or now
            is_subscription = self._link.order(charge) is not None
            sources = [METHODS[charge.payment_method].source(charge.event_id)]
            if is_subscription:
                sources.append(grace_source(charge.event_id))
            if charge.parked_at is not None or not is_subscription:
                sources.append(delay_source(charge.event_id))
            for source in sources:
                await service.revoke_entitlement(
                    source, at=at, reason=last.reason or "refunded", user_id=charge.customer_id
                )
        elif charge.status == EventStatus.FAILED:
            transitions.close(charge, EventOutcome.REFUNDED, now)
        subscription = await self._link.update(session, charge, user)
        if last.requested_by != BY_ITSELF:
            await self._link.end_refunded(session, charge, user, subscription)

    async def _tell_replaced(self, session: AsyncSession, refund: StripeEvent, user: User, mismatch: str) -> None:
        """Tell the admins of a refund that contradicts its charge and waits for nobody."""
        await self._effects.tell_admins(session, Notice.PARKED, refund, user, mismatch, again=True, is_over=True)

    async def _tell_refunded(
        self,
        session: AsyncSession,
        refund: StripeEvent,
        charge: StripeEvent | None,
        user: User,
        last: StripeEvent | None,
    ) -> None:
        """Tell the buyer of a settled refund, and the admins of one made outside.

        `last` is the refund after which the charge had no remainder (None: it has one).
        """
        method = METHODS[refund.payment_method]
        is_part = last is None
        told = None if refund.requested_by == BY_ITSELF else refund.reason
        was_granted = charge is not None and charge.outcome == EventOutcome.GRANTED
        if is_part:
            await self._effects.tell_buyer(session, Notice.PARTLY_REFUNDED, refund, user)
        elif refund.event_type == method.dispute_type:
            await self._effects.tell_buyer(session, Notice.CHARGED_BACK, refund, user)
        else:
            facts: dict[str, object] = {"reason": told, "was_granted": was_granted}
            if charge is not None and refund.amount_cents < charge.amount_cents:
                facts["is_again" if is_refunded_after(refund, last) else "is_rest"] = True
            await self._effects.tell_buyer(session, Notice.REFUNDED, refund, user, **facts)
        if refund.requested_by == method.outside:
            notice = Notice.PARTLY_REFUNDED_OUTSIDE if is_part else Notice.REFUNDED_OUTSIDE
            await self._effects.tell_admins(session, notice, refund, user)
