"""Settles charges: grants the plan that the buyer paid for, gives the charge back, or parks it for an admin."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.limits import ERROR_LENGTH_MAX
from db.states import ORIGIN, EventOutcome
from db.tables import StripeEvent, Subscription, User
from entitlements.contradictions import WantedGrant
from entitlements.errors import ContradictedGrantError
from entitlements.service import EntitlementService
from payments.audit import events, transitions
from payments.audit.balance import contradiction, refunded_at
from payments.effects import Effects
from payments.methods import METHODS
from payments.notices import Notice
from payments.renewals import RenewalReason
from payments.sale.catalog import Catalog
from payments.sale.eligibility import Payer, PurchaseObstacle
from payments.sale.offered_terms import needs_no_proof_of_offer, was_offered
from payments.sale.payload import PayloadSigner, PayloadVerdict, ReadPayload
from payments.settlement.judgement import (
    ChargeJudgement,
    Foreign,
    GivenBack,
    Granted,
    Parked,
    Payment,
    judge,
)
from payments.settlement.lateness import compensate, delay_source
from payments.settlement.parking import Parking
from payments.settlement.refund_settlement import RefundSettlement
from payments.settlement.subscription_link import SubscriptionLink
from payments.subscriptions import running
from payments.subscriptions.book import SubscriptionBook
from payments.subscriptions.chain import PERIOD


@dataclass(frozen=True, slots=True)
class ChargeRules:
    """Inputs of settling charges: the catalog, the signer of payloads, and the time.

    `telegram_now` is Telegram's present as far as the desk knows it; lateness counts by it.
    """

    catalog: Catalog
    signer: PayloadSigner
    clock: Clock
    telegram_now: Clock


class ChargeSettlement:
    """Settles charges in the caller's transaction. The caller holds the user's lock."""

    def __init__(
        self,
        rules: ChargeRules,
        effects: Effects,
        parking: Parking,
        refunds: RefundSettlement,
        link: SubscriptionLink,
        book: SubscriptionBook,
    ) -> None:
        self._rules = rules
        self._effects = effects
        self._parking = parking
        self._refunds = refunds
        self._link = link
        self._book = book

    async def settle(self, session: AsyncSession, event: StripeEvent) -> None:
        """Settle an open charge: grant it, give it back, park it, or leave it to another program.

        1. Read its refunds, because a refund may arrive before its charge.
        2. Have the pure judgement decide by the payload, the price and the rule of who may buy what.
        3. Grant the plan's entitlements of a granted charge, born revoked if refunds gave it back before. Close any
           other charge that refunds gave back, and set the rest aside: given back, parked, or left to another program.
        4. Bring its subscription up to date. A charge that is refunded or goes back ends the renewal.
        5. If the charge stays granted: end the renewals that it makes needless, then tell the buyer. If the charge was
           parked and its paid time is over already, tell the admins instead.
        """
        user = await session.get_one(User, event.customer_id)
        if user.telegram_id is None or event.payload is None:
            raise ValueError(f"the charge {event.event_id} of ours has no payer or no payload")
        refund = await self._refunds.find_completing(session, event, user)
        judgement = await self._judge(session, event, user.telegram_id)
        is_granted = False
        if isinstance(judgement, Granted):
            is_granted = await self._grant(session, event, user, judgement, refund)
        elif refund is not None:
            transitions.close(event, EventOutcome.REFUNDED, self._rules.clock())
        else:
            await self._set_aside(session, event, user, judgement)
        subscription = await self._link.update(session, event, user)
        if refund is not None:
            await self._link.end_refunded(session, event, user, subscription)
        elif subscription is not None and isinstance(judgement, GivenBack):
            self._effects.end_renewal(subscription, RenewalReason.GIVEN_BACK)
        if isinstance(judgement, Granted) and is_granted and refund is None:
            await self._end_needless_renewals(session, event, user, judgement, subscription)
            sources = {METHODS[event.payment_method].source(event.event_id), delay_source(event.event_id)}
            opens = EntitlementService(session).opens
            if event.parked_at is None or await opens(user.id, sources, self._rules.telegram_now()):
                await self._effects.tell_granted(session, event, user, judgement.plan)
            else:
                await self._effects.tell_admins(session, Notice.NOTHING_OPENED, event, user)

    async def settle_news(self, session: AsyncSession, charge: StripeEvent) -> None:
        """Bring a settled charge's subscription up to date with facts that the desk has learned since.

        By these facts a subscription may have started beside a running one: the desk gives such a start back.
        """
        user = await session.get_one(User, charge.customer_id)
        await self._link.update(session, charge, user)
        await self._give_back_starts(session, charge, user)
        await self._book.end_replaced_renewals(session, user)
        transitions.finish_news(charge)

    async def _judge(self, session: AsyncSession, event: StripeEvent, payer_telegram_id: int) -> ChargeJudgement:
        """Judge a charge by what the payer held when paying, so that the order of settling does not decide."""
        payload = event.payload or ""
        reading = self._rules.signer.read(payload)
        is_offered = needs_no_proof_of_offer(reading, self._rules.catalog)
        if reading.claimed is not None and await self._is_renewal(session, event):
            reading = ReadPayload(PayloadVerdict.OLD, reading.claimed, is_vouched=True)
        elif not is_offered:
            is_offered = await self._was_offered(session, event, reading)
        is_subscription = reading.order is not None and reading.order.subscription
        is_for_life = reading.order is not None and reading.order.days is None and not is_subscription
        # Of two lifetime charges the desk gives back the one that it settles last, even if the buyer paid it first: for
        # these, grants of any date count.
        by_all = is_for_life and not self._effects.settles_past
        until = None if by_all else event.webhook_timestamp or self._rules.clock()
        own = METHODS[event.payment_method].source(event.event_id)
        held_for_life = await EntitlementService(session).held_for_life(event.customer_id, until, but=own)
        subscribed: frozenset[str] = frozenset()
        if is_subscription:
            subscribed = await running.beside(session, event, by_what_is_paid=self._effects.settles_past)
        payment = Payment(event.amount_cents, event.currency)
        payer = Payer(payer_telegram_id, held_for_life, subscribed)
        return judge(payment, payer, reading, self._rules.catalog, is_offered=is_offered)

    async def _was_offered(self, session: AsyncSession, event: StripeEvent, reading: ReadPayload) -> bool:
        """Tell whether the catalog ever offered a charge's terms, or the charge renews a grant on these terms."""
        order = reading.order
        if order is not None and await was_offered(session, order):
            return True
        return await self._is_renewal(session, event)

    async def _is_renewal(self, session: AsyncSession, event: StripeEvent) -> bool:
        """Tell whether a charge is a renewal: the desk has granted another charge of the same user and payload.

        A renewal brings the payload of its subscription's first invoice, maybe under a key that is gone.
        """
        query = select(StripeEvent.id).where(
            StripeEvent.customer_id == event.customer_id,
            StripeEvent.payload == event.payload,
            StripeEvent.outcome == EventOutcome.GRANTED,
            StripeEvent.origin == ORIGIN,
        )
        return await session.scalar(query.limit(1)) is not None

    async def _grant(
        self, session: AsyncSession, event: StripeEvent, user: User, granted: Granted, refund: StripeEvent | None
    ) -> bool:
        """Grant a charge's entitlements and close its row; False: another grant contradicts them, and none opens."""
        now = self._rules.clock()
        service = EntitlementService(session)
        source = METHODS[event.payment_method].source(event.event_id)
        wanted = self._wanted_grants(event, user, granted, source, now)
        if refund is not None:
            wanted = [each for each in wanted if each.source == source]
        at = None if refund is None else refunded_at(refund) or now
        reason = None if refund is None else refund.reason
        try:
            is_new = await service.grant_all(wanted, revoked_at=at, revoke_reason=reason, now=now)
        except ContradictedGrantError as error:
            if refund is None:
                await self._parking.park(session, event, str(error)[:ERROR_LENGTH_MAX])
            else:
                transitions.close(event, EventOutcome.REFUNDED, now)
            return False
        if at is not None and not is_new:
            await service.revoke_entitlement(source, at=at, reason=reason or "refunded", user_id=user.id)
        transitions.close(event, EventOutcome.GRANTED, now)
        return True

    def _wanted_grants(
        self, event: StripeEvent, user: User, granted: Granted, source: str, now: datetime
    ) -> list[WantedGrant]:
        """Return the grants of a charge, and those that give back the time lost before its settlement."""
        paid_at = event.webhook_timestamp or now
        ends_at = None
        if granted.order.subscription:
            ends_at = event.subscription_expires_at or paid_at + PERIOD
        days, begin_at = 0, paid_at
        if not self._effects.settles_past:
            days, begin_at = compensate(granted.order, (paid_at, ends_at), event.parked_at, self._rules.telegram_now())
        wanted: list[WantedGrant] = []
        for entitlement in granted.plan.entitlements:
            wanted.append(WantedGrant(user.id, entitlement, source, paid_at, granted.order.days, ends_at))
            if days:
                delay = delay_source(event.event_id)
                wanted.append(WantedGrant(user.id, entitlement, delay, begin_at, days))
        return wanted

    async def _set_aside(
        self, session: AsyncSession, event: StripeEvent, user: User, judgement: Foreign | Parked | GivenBack
    ) -> None:
        """Set a charge without a grant aside: leave it to another program, park it, or give it back.

        The desk parks a charge that its effects do not give back.
        """
        match judgement:
            case Foreign(reason):
                transitions.set_aside(event, EventOutcome.FOREIGN, reason)
                await self._effects.tell_admins(session, Notice.FOREIGN, event, user, reason)
            case Parked(reason):
                await self._parking.park(session, event, reason)
            case GivenBack(reason):
                if await self._effects.give_back(session, event, user, reason):
                    transitions.set_aside(event, None, reason)
                else:
                    await self._parking.park(session, event, reason)

    async def _end_needless_renewals(
        self, session: AsyncSession, charge: StripeEvent, user: User, granted: Granted, own: Subscription | None
    ) -> None:
        """End the renewals that a granted charge makes needless; `own` is the charge's subscription."""
        if own is not None:
            is_given_back = await self._give_back_starts(session, charge, user)
            ended = await self._book.end_replaced_renewals(session, user)
            if own.first_charge_id != charge.event_id and own.last_charge_id == charge.event_id:
                is_beside = is_given_back or any(row is not own for row in ended)
                await self._book.end_unwanted_renewal(session, user, own, is_beside=is_beside)
        if own is not None or granted.order.days is None:
            await self._book.end_lifetime_renewals(session, user)

    async def _give_back_starts(self, session: AsyncSession, charge: StripeEvent, user: User) -> bool:
        """Give back first charges that, as `charge` shows, started a subscription beside a running one; True: any.

        The order of settling does not decide, because Telegram may report first the charge that the buyer paid last.
        Each turn of the loop gives one charge back, or looks at it for the last time.
        """
        seen: set[str] = set()
        is_given_back = False
        while left := [each for each in await running.starts_beside(session, charge) if each not in seen]:
            seen.add(left[0])
            start = await events.find(session, left[0])
            refunds = await events.refunds_of(session, left[0])
            if start is None or any(contradiction(refund, start) is None for refund in refunds):
                continue
            if await self._effects.give_back(session, start, user, PurchaseObstacle.SUBSCRIBED):
                is_given_back = True
                subscription = await self._link.update(session, start, user)
                if subscription is not None:
                    self._effects.end_renewal(subscription, RenewalReason.GIVEN_BACK)
        return is_given_back
