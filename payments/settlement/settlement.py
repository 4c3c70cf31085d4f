"""One event to its effect, in the caller's transaction: audit row, grants, entitlements and notices together.

Any order and any repetition of a charge and its refund ends in the same state.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.tables import ORIGIN, EventStatus, Outcome, StripeEvent, Subscription, User
from entitlements.contradictions import WantedGrant
from entitlements.errors import ContradictedGrantError
from entitlements.service import EntitlementService
from payments.audit import events, transitions
from payments.audit.balance import (
    completing_refund,
    contradiction,
    is_at_provider,
    is_refunded_after,
    is_returned_refund,
    refunded_at,
)
from payments.effects import BY_ITSELF, Effects
from payments.methods import METHODS, delay_source, grace_source
from payments.notices import Notice
from payments.refunds.contradicting import replace_contradicting, take_up
from payments.renewals import RenewalReason
from payments.sale.catalog import Catalog
from payments.sale.eligibility import Payer, PurchaseObstacle
from payments.sale.offered_terms import was_offered
from payments.sale.payload import Order, PayloadSigner, PayloadVerdict, ReadPayload
from payments.settlement.judgement import (
    ChargeJudgement,
    Foreign,
    GivenBack,
    Granted,
    Parked,
    Payment,
    is_offered_now,
    judge,
)
from payments.settlement.lateness import give_back
from payments.subscriptions import running
from payments.subscriptions.book import SubscriptionBook
from payments.subscriptions.chain import PERIOD, Terms

_TERMS: Final = Terms()


class Settlement:
    """Settles events. Knows the plans, the payload's key and the time; whatever goes out is left to the `effects`."""

    def __init__(
        self,
        catalog: Catalog,
        signer: PayloadSigner,
        clock: Clock,
        effects: Effects,
        terms: Terms = _TERMS,
        telegram_now: Clock | None = None,
    ) -> None:
        """Prepare; `telegram_now` is Telegram's present as far as it is known, by which lateness is reckoned.

        None: the clock is as good.
        """
        self.telegram_now = telegram_now or clock
        self._catalog = catalog
        self._signer = signer
        self._clock = clock
        self._effects = effects
        self.subscriptions = SubscriptionBook(catalog, clock, effects, terms)

    async def settle(self, session: AsyncSession, event_id: str, *, confirmed: bool = False) -> StripeEvent | None:
        """Bring an event to its end, or leave it where it ended before; None: there is no such event of ours.

        `confirmed` says of a refund that its provider has just done it; one that the provider told us of (its
        `webhook_timestamp` is known) is confirmed anyway. An unconfirmed one is left open: it has to be sent. Where the
        key of a refund is taken by a row that is none, it is the refund apart (events.record) that is returned.
        """
        event = None
        ids = [event_id, *await events.stand_ins(session, event_id)]
        # Held here, so that the session does not read them anew.
        users = await events.lock_payers(session, ids)
        for each in ids if users else ():
            locked = await events.lock_row(session, each)
            if locked is None or locked.origin != ORIGIN:
                continue
            event = locked
            if transitions.is_open(event):
                await self.settle_open(session, event, confirmed=confirmed)
        return event

    async def settle_open(self, session: AsyncSession, event: StripeEvent, *, confirmed: bool = False) -> None:
        """Settle an open event of ours that the caller has locked (events.lock), as `settle` does."""
        if event.status == EventStatus.PROCESSED:
            await self._settle_learned(session, event)
        elif event.refund_of is None:
            await self._settle_charge(session, event)
        elif is_returned_refund(event):
            await self._settle_return(session, event)
        elif confirmed or is_at_provider(event):
            await self._settle_refund(session, event)
        await session.flush()

    async def park(self, session: AsyncSession, event: StripeEvent, reason: str) -> None:
        """Put an event before the admins. The caller holds the user's lock."""
        transitions.set_aside(event, Outcome.PARKED, reason, parked_at=self.telegram_now())
        await self.alert_parked(session, event, reason)

    async def alert_parked(self, session: AsyncSession, event: StripeEvent, reason: str) -> None:
        """Tell the admins, and the buyer of a charge that waits, that an event is parked.

        A settled one has come to its end for the buyer: what was learned of it later is for the admins alone.
        """
        user = await session.get_one(User, event.customer_id)
        is_settled = event.status == EventStatus.PROCESSED
        # Again when it is parked again: whoever took it up waits to hear of it.
        await self._effects.tell_admins(
            session, Notice.PARKED, event, user, reason, again=True, **({"is_settled": True} if is_settled else {})
        )
        if event.refund_of is None and not is_settled:
            await self._effects.tell_buyer(session, Notice.WAITING, event, user)

    async def _settle_charge(self, session: AsyncSession, event: StripeEvent) -> None:
        user = await session.get_one(User, event.customer_id)
        if user.telegram_id is None or event.payload is None:
            raise ValueError(f"the charge {event.event_id} of ours has no payer or no payload")
        refund = await self._given_back_with(session, event, user)
        judgement = await self._judge(session, event, user.telegram_id)
        is_granted = False
        if isinstance(judgement, Granted):
            is_granted = await self._grant(session, event, user, judgement, refund)
        elif refund is not None:
            transitions.close(event, Outcome.REFUNDED, self._clock())
        else:
            await self._decline(session, event, user, judgement)
        subscription = await self._follow(session, event, user)
        if refund is not None:
            await self._end_refunded(session, event, user, subscription)
        elif subscription is not None and isinstance(judgement, GivenBack):
            self._effects.end_renewal(subscription, RenewalReason.GIVEN_BACK)
        if isinstance(judgement, Granted) and is_granted and refund is None:
            await self._settle_beside(session, event, user, judgement, subscription)
            if event.parked_at is None or await self._opens_something(session, event, user):
                await self._effects.tell_granted(session, event, user, judgement.plan)
            else:
                await self._effects.tell_admins(session, Notice.NOTHING_OPENED, event, user)

    async def _settle_learned(self, session: AsyncSession, charge: StripeEvent) -> None:
        """Take in what is new about a settled charge of a subscription: it may have begun one beside a running one."""
        user = await session.get_one(User, charge.customer_id)
        await self._follow(session, charge, user)
        await self._give_back_starts(session, charge, user)
        await self.subscriptions.end_replaced_renewals(session, user)
        charge.due_at = charge.claimed_until = charge.error = None
        charge.attempts = 0

    async def _give_back_starts(self, session: AsyncSession, charge: StripeEvent, user: User) -> bool:
        """Give back what was granted as a start, and started under a running one as this charge lets know.

        The order of settling does not decide: what is told of first may have been paid last. Each turn of the loop
        gives one charge back, or looks at it for the last time. Returns whether any goes back.
        """
        seen: set[str] = set()
        goes_back = False
        while left := [each for each in await running.starts_beside(session, charge) if each not in seen]:
            seen.add(left[0])
            start = await events.find(session, left[0])
            refunds = await events.refunds_of(session, left[0])
            if start is None or any(contradiction(refund, start) is None for refund in refunds):
                continue
            if await self._effects.give_back(session, start, user, PurchaseObstacle.SUBSCRIBED):
                goes_back = True
                subscription = await self._follow(session, start, user)
                if subscription is not None:
                    self._effects.end_renewal(subscription, RenewalReason.GIVEN_BACK)
        return goes_back

    async def _given_back_with(self, session: AsyncSession, charge: StripeEvent, user: User) -> StripeEvent | None:
        """Return the refund by which, in the order of time, all of a charge was back; None: some was always kept."""
        refunds = await events.refunds_of(session, charge.event_id)
        is_contradicted = False
        for refund in filter(is_at_provider, refunds):
            if (mismatch := contradiction(refund, charge)) is not None:
                is_contradicted = True
                if refund.status == EventStatus.PROCESSED:
                    await self._tell_over(session, refund, user, mismatch)
        if is_contradicted and await take_up(session, charge, user, self._clock):
            refunds = await events.refunds_of(session, charge.event_id)
        return completing_refund(charge, refunds)

    async def _follow(self, session: AsyncSession, charge: StripeEvent, user: User) -> Subscription | None:
        """Bring up to date the subscription that a charge belongs to; None: it is of none that is known."""
        order = self._subscribed(charge)
        if charge.payload is None or (order is None and not charge.is_recurring):
            return None
        followed = await self.subscriptions.update_from_charges(session, user, charge.payload, order)
        return followed.get(charge.event_id)

    async def _end_refunded(
        self, session: AsyncSession, charge: StripeEvent, user: User, subscription: Subscription | None
    ) -> None:
        """End the renewal of what a refunded charge is of, whether its payload can be read here or not."""
        is_unread = subscription is None and charge.is_recurring and not self._effects.goes_by_date
        if is_unread and charge.payload is not None:
            price_stars = charge.amount_cents
            followed = await self.subscriptions.update_from_charges(
                session, user, charge.payload, unread_price_stars=price_stars
            )
            subscription = followed.get(charge.event_id)
        if subscription is not None:
            self._effects.end_renewal(subscription, RenewalReason.REFUND)

    def _subscribed(self, charge: StripeEvent) -> Order | None:
        """Return what a charge of a subscription says was sold, proved or not; None: it is of none."""
        reading = self._signer.read(charge.payload or "")
        order = reading.order or reading.claimed
        return order if order is not None and order.subscription else None

    async def _settle_beside(
        self, session: AsyncSession, charge: StripeEvent, user: User, granted: Granted, own: Subscription | None
    ) -> None:
        """End the renewals that a granted charge leaves without a purpose."""
        if own is not None:
            goes_back = await self._give_back_starts(session, charge, user)
            ended = await self.subscriptions.end_replaced_renewals(session, user)
            if own.first_charge_id != charge.event_id and own.last_charge_id == charge.event_id:
                is_beside = goes_back or any(row is not own for row in ended)
                await self.subscriptions.end_unwanted_renewal(session, user, own, is_beside=is_beside)
        if own is not None or granted.order.days is None:
            await self.subscriptions.end_lifetime_renewals(session, user)

    async def _judge(self, session: AsyncSession, event: StripeEvent, payer_telegram_id: int) -> ChargeJudgement:
        payload = event.payload or ""
        reading = self._signer.read(payload)
        if reading.claimed is not None and await self._was_settled_before(session, event):
            reading = ReadPayload(PayloadVerdict.OLD, reading.claimed, is_vouched=True)
        is_offered = is_offered_now(reading, self._catalog) or await self._was_offered(session, event, reading)
        is_subscription = reading.order is not None and reading.order.subscription
        is_for_life = reading.order is not None and reading.order.days is None and not is_subscription
        # By what was granted until this charge, not by what stands now: the order of settling must not decide. But of
        # two that are paid for life, the one that is settled last goes back, even if it was paid first.
        by_all = is_for_life and not self._effects.goes_by_date
        until = None if by_all else event.webhook_timestamp or self._clock()
        own = METHODS[event.payment_method].source(event.event_id)
        held_for_life = await EntitlementService(session).held_for_life(User.id == event.customer_id, until, but=own)
        subscribed: frozenset[str] = frozenset()
        if is_subscription:
            subscribed = await running.beside(session, event, by_what_is_paid=self._effects.goes_by_date)
        payment = Payment(event.amount_cents, event.currency)
        payer = Payer(payer_telegram_id, held_for_life, subscribed)
        return judge(payment, payer, reading, self._catalog, is_offered=is_offered)

    async def _was_offered(self, session: AsyncSession, event: StripeEvent, reading: ReadPayload) -> bool:
        """Tell terms that the catalog had once, or a renewal of what was granted on them."""
        order = reading.order
        if order is not None and await was_offered(session, order):
            return True
        return await self._was_settled_before(session, event)

    async def _was_settled_before(self, session: AsyncSession, event: StripeEvent) -> bool:
        """Tell a renewal: it brings the payload of its subscription's first invoice, maybe under a key that is gone."""
        query = select(StripeEvent.id).where(
            StripeEvent.customer_id == event.customer_id,
            StripeEvent.payload == event.payload,
            StripeEvent.outcome == Outcome.GRANTED,
            StripeEvent.origin == ORIGIN,
        )
        return await session.scalar(query.limit(1)) is not None

    async def _grant(
        self, session: AsyncSession, event: StripeEvent, user: User, granted: Granted, refund: StripeEvent | None
    ) -> bool:
        """Grant what was sold; False: another grant stands in its place, so that nothing is granted."""
        now = self._clock()
        service = EntitlementService(session)
        source = METHODS[event.payment_method].source(event.event_id)
        wanted = self._wanted(event, user, granted, source, now)
        if refund is not None:
            wanted = [each for each in wanted if each.source == source]
        at = None if refund is None else refunded_at(refund) or now
        reason = None if refund is None else refund.reason
        try:
            is_new = await service.grant_all(wanted, revoked_at=at, revoke_reason=reason, now=now)
        except ContradictedGrantError as error:
            if refund is None:
                await self.park(session, event, str(error)[: transitions.ERROR_LENGTH_MAX])
            else:
                transitions.close(event, Outcome.REFUNDED, now)
            return False
        if at is not None and not is_new:
            await service.revoke_entitlement(source, at=at, reason=reason or "refunded", user_id=user.id)
        transitions.close(event, Outcome.GRANTED, now)
        return True

    def _wanted(
        self, event: StripeEvent, user: User, granted: Granted, source: str, now: datetime
    ) -> list[WantedGrant]:
        """Return the grants that a charge pays for, with those that give back the time which was lost before."""
        paid_at = event.webhook_timestamp or now
        ends_at = None
        if granted.order.subscription:
            ends_at = event.subscription_expires_at or paid_at + PERIOD
        days, begin_at = 0, paid_at
        if self._effects.gives_time_back:
            days, begin_at = give_back(granted.order, (paid_at, ends_at), event.parked_at, self.telegram_now())
        wanted: list[WantedGrant] = []
        for entitlement in granted.plan.entitlements:
            wanted.append(WantedGrant(user.id, entitlement, source, paid_at, granted.order.days, ends_at))
            if days:
                delay = delay_source(event.event_id)
                wanted.append(WantedGrant(user.id, entitlement, delay, begin_at, days))
        return wanted

    async def _opens_something(self, session: AsyncSession, charge: StripeEvent, user: User) -> bool:
        """Tell a charge whose grants open any moment from now on that the buyer would not have without them."""
        sources = {METHODS[charge.payment_method].source(charge.event_id), delay_source(charge.event_id)}
        return await EntitlementService(session).opens(user.id, sources, self.telegram_now())

    async def _decline(
        self, session: AsyncSession, event: StripeEvent, user: User, judgement: Foreign | Parked | GivenBack
    ) -> None:
        match judgement:
            case Foreign(reason):
                transitions.set_aside(event, Outcome.FOREIGN, reason)
                await self._effects.tell_admins(session, Notice.FOREIGN, event, user, reason)
            case Parked(reason):
                await self.park(session, event, reason)
            case GivenBack(reason):
                if await self._effects.give_back(session, event, user, reason):
                    transitions.set_aside(event, None, reason)
                else:
                    await self.park(session, event, reason)

    async def _tell_over(self, session: AsyncSession, refund: StripeEvent, user: User, mismatch: str) -> None:
        """Tell of a refund that contradicts its charge, and of which nothing waits."""
        await self._effects.tell_admins(session, Notice.PARKED, refund, user, mismatch, again=True, is_over=True)

    async def _settle_refund(self, session: AsyncSession, refund: StripeEvent) -> None:
        now = self._clock()
        user = await session.get_one(User, refund.customer_id)
        charge = await events.find_charge(session, refund.refund_of)
        mismatch = contradiction(refund, charge) if charge is not None else None
        if charge is not None and mismatch is not None:
            await self.park(session, refund, mismatch)
            if completing_refund(charge, await events.refunds_of(session, charge.event_id)) is not None:
                await self._tell_over(session, refund, user, mismatch)
                transitions.replace(refund, mismatch)
            return
        transitions.close(refund, Outcome.REFUNDED, now)
        last: StripeEvent | None = refund
        if charge is not None:
            if refund.amount_cents < charge.amount_cents:
                last = await self._given_back_with(session, charge, user)
            if last is not None:
                await self._take_access(session, charge, last, user)
        await self._effects.tell_asker(session, refund, is_part=last is None)
        await self._tell_refunded(session, refund, charge, user, last)

    async def _settle_return(self, session: AsyncSession, event: StripeEvent) -> None:
        """Close the row of a refund that came back. The access stays as it is: the money is still owed to the buyer."""
        user = await session.get_one(User, event.customer_id)
        transitions.close(event, Outcome.RETURNED, self._clock())
        charge = await events.find_charge(session, event.refund_of)
        last = None if charge is None else completing_refund(charge, await events.refunds_of(session, charge.event_id))
        stays = "open" if last is None else "closed"
        await self._effects.tell_admins(session, Notice.REFUND_FAILED, event, user, event.reason, stays=stays)

    async def _take_access(self, session: AsyncSession, charge: StripeEvent, last: StripeEvent, user: User) -> None:
        """End what a charge has opened: all of it went back, at last with the refund `last`."""
        now = self._clock()
        await replace_contradicting(session, charge)
        if charge.outcome == Outcome.GRANTED:
            service = EntitlementService(session)
            at = refunded_at(last) or now
            sources = [METHODS[charge.payment_method].source(charge.event_id)]
            if self._subscribed(charge):
                sources.append(grace_source(charge.event_id))
            if charge.parked_at is not None or not self._subscribed(charge):
                sources.append(delay_source(charge.event_id))
            for source in sources:
                await service.revoke_entitlement(
                    source, at=at, reason=last.reason or "refunded", user_id=charge.customer_id
                )
        elif charge.status == EventStatus.FAILED:
            transitions.close(charge, Outcome.REFUNDED, now)
        subscription = await self._follow(session, charge, user)
        if last.requested_by != BY_ITSELF:
            await self._end_refunded(session, charge, user, subscription)

    async def _tell_refunded(
        self,
        session: AsyncSession,
        refund: StripeEvent,
        charge: StripeEvent | None,
        user: User,
        last: StripeEvent | None,
    ) -> None:
        """Tell of a refund, after which all of the charge was back at last with the refund `last` (None: never)."""
        method = METHODS[refund.payment_method]
        is_part = last is None
        told = None if refund.requested_by == BY_ITSELF else refund.reason
        was_granted = charge is not None and charge.outcome == Outcome.GRANTED
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
