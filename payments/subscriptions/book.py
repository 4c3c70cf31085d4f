"""Keeps what follows from a subscription's charges and changes: its grants' ends, its grace, its row, what is told.

`follow` makes all of it anew from what is on record, in the caller's transaction, so that any order of arrival ends in
the same state. The caller holds the user's lock.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.tables import Renewal, Subscription, SubscriptionChange, SubscriptionState, User
from entitlements import EntitlementService
from entitlements.contradictions import WantedGrant, find_contradictions
from payments import events
from payments.catalog import Catalog
from payments.effects import Effects
from payments.methods import STARS
from payments.notices import TOLD_DAYS_MAX, Notice
from payments.payload import Order
from payments.sources import grace_source
from payments.subscriptions.chain import Chain, Change, Charge, Standing, Terms, divide, failed_periods, stand
from payments.subscriptions.charges import read_charges
from payments.subscriptions.wanted import Because

CLOCKS_APART_MAX: Final = timedelta(days=1)
"""How far Telegram's clock is believed to be ahead of ours, where believing too much does no harm."""

_GOES_ON: Final = frozenset({Because.FOR_LIFE, Because.REPLACED})
"""Why a renewal was ended while access goes on: its end is no news."""


class SubscriptionBook:
    """The subscriptions' rows and grants. Knows the seller's terms and the time; what is told is left to `effects`."""

    def __init__(self, catalog: Catalog, clock: Clock, effects: Effects, terms: Terms) -> None:
        self._catalog = catalog
        self._clock = clock
        self._effects = effects
        self.terms = terms

    async def follow(
        self, session: AsyncSession, user: User, payload: str, order: Order | None = None
    ) -> dict[str, Subscription]:
        """Bring a user's subscriptions on one payload up to what is known now; return them by each charge's id.

        `order` is what the payload says: without it, nothing is done before the first charge is settled.
        """
        await session.flush()
        charges = await read_charges(session, user.id, payload)
        rows = await _rows(session, user.id, payload)
        if not charges or (order is None and not rows):
            return {}
        chains = divide(charges, await _changes(session, user.id, payload))
        await self._date_grants(session, user, chains)
        followed: dict[str, Subscription] = {}
        for chain in chains:
            ids = {period.charge.id for period in chain.periods}
            row = next((each for each in rows if each.first_charge_id in ids and each not in followed.values()), None)
            if row is None:
                row = _new_row(user, payload, order, rows)
                session.add(row)
            await self._write(session, user, row, chain)
            followed |= dict.fromkeys(ids, row)
        return followed

    async def end_covered_for_life(self, session: AsyncSession, user: User) -> None:
        """End the renewals of whatever opens nothing that the user does not hold for life."""
        # A charge may bear a moment that our clock has not reached yet.
        held = await EntitlementService(session).held_for_life(User.id == user.id, self._clock() + CLOCKS_APART_MAX)
        for row in await self._running(session, user) if held else ():
            plan = self._catalog.get(row.plan)
            if plan is not None and held.issuperset(plan.entitlements):
                self._effects.end_renewal(row, Because.FOR_LIFE)

    async def end_replaced(self, session: AsyncSession, user: User, by: Subscription) -> None:
        """End the renewals of what had failed and opens what a new subscription opens: Telegram may try them again."""
        plan = self._catalog.get(by.plan)
        for row in await self._running(session, user):
            other = self._catalog.get(row.plan)
            if row is by or row.state != SubscriptionState.FAILED or plan is None or other is None:
                continue
            if not set(plan.entitlements).isdisjoint(other.entitlements):
                self._effects.end_renewal(row, Because.REPLACED)

    async def _running(self, session: AsyncSession, user: User) -> Sequence[Subscription]:
        query = select(Subscription).where(
            Subscription.user_id == user.id, Subscription.state != SubscriptionState.ENDED
        )
        return (await session.scalars(query.order_by(Subscription.id))).all()

    async def _date_grants(self, session: AsyncSession, user: User, chains: Sequence[Chain]) -> None:
        """Let each charge's grant end where its period does, and grant grace after each failed renewal."""
        service = EntitlementService(session)
        ends = {STARS.source(period.charge.id): period.ends_at for chain in chains for period in chain.periods}
        failed = [period for chain in chains for period in failed_periods(chain)] if self.terms.grace_days else []
        if self.terms.grace_days:
            # What was granted before it was known that the renewal is later than the failure gives no time beside it.
            ends |= {grace_source(period.charge.id): period.ends_at for chain in chains for period in chain.periods}
        if failed:
            paid = await service.unrevoked([STARS.source(period.charge.id) for period in failed], user.id)
            for period in failed:
                source = grace_source(period.charge.id)
                ends[source] = period.ends_at + self.terms.grace
                for entitlement in sorted(paid[STARS.source(period.charge.id)]):
                    # From the charge on, not from its end: that may still turn out to be another.
                    grace = WantedGrant(user.id, entitlement, source, period.charge.paid_at, None, ends[source])
                    await self._grant_grace(session, user, period.charge, grace)
        await service.move_ends(ends, user.id)

    async def _grant_grace(self, session: AsyncSession, user: User, charge: Charge, grace: WantedGrant) -> None:
        """Grant grace once; what stands in its place of somebody else's is told to the admins."""
        if await EntitlementService(session).grant(grace, now=self._clock()):
            return
        for contradiction in (await find_contradictions(session, [grace], may_differ=True)).values():
            event = await events.find(session, charge.id)
            if event is not None:
                await self._effects.tell_admins(session, Notice.PARKED, event, user, contradiction, is_settled=True)

    async def _write(self, session: AsyncSession, user: User, row: Subscription, chain: Chain) -> None:
        standing = stand(chain, self.terms, self._clock())
        change, paid = chain.change, chain.paid
        before, seen = SubscriptionState(row.state), row.change_id
        if row.error is not None and row.first_charge_id != chain.first.id and row.renewal_wanted == Renewal.CANCELED:
            # Telegram was asked in the name of a renewal: the charge that names it has become known. What a buyer could
            # not take up again stays so: they were told, and it is theirs to press again before it costs them Stars.
            self._effects.end_renewal(row, Because(row.wanted_because or Because.BUYER))
        row.first_charge_id = chain.first.id
        row.last_charge_id = chain.newest.id
        row.current_period_end = chain.ends_at
        row.paid_until = paid.ends_at if paid else None
        row.state = standing.state
        row.check_at = standing.check_at
        row.change_id = chain.changes[-1].id if chain.changes else None
        await session.flush()
        # What the desk itself has brought about is told by whoever did it (editor.py).
        is_news = change is not None and change.charge_id is None and change.id != seen
        await self._tell(session, user, row, before, change if is_news else None, standing)

    async def _tell(
        self,
        session: AsyncSession,
        user: User,
        row: Subscription,
        before: SubscriptionState,
        news: Change | None,
        standing: Standing,
    ) -> None:
        now = self._clock()
        tell = self._effects.tell_subscriber
        of_period, facts = row.last_charge_id, self.facts(row)
        if standing.state is SubscriptionState.ENDED:
            is_recent = row.paid_until is not None and now - row.paid_until < timedelta(days=TOLD_DAYS_MAX)
            if before is not SubscriptionState.ENDED and is_recent and row.wanted_because not in _GOES_ON:
                await tell(session, Notice.SUBSCRIPTION_ENDED, of_period, user, facts)
        elif news is not None and standing.state is not before:
            match standing.state:
                case SubscriptionState.CANCELED:
                    await tell(session, Notice.SUBSCRIPTION_CANCELED, f"change:{news.id}", user, facts)
                case SubscriptionState.FAILED:
                    await tell(session, Notice.SUBSCRIPTION_FAILED, of_period, user, facts)
                case SubscriptionState.ACTIVE:
                    await tell(session, Notice.SUBSCRIPTION_ACTIVE, f"change:{news.id}", user, facts)
        is_ending = row.renewal_wanted == Renewal.CANCELED and row.due_at is not None
        if standing.is_reminder_due and row.paid_until == row.current_period_end and not is_ending:
            await tell(session, Notice.RENEWAL_SOON, of_period, user, facts)

    def facts(self, row: Subscription) -> dict[str, object]:
        """Return what every notice about a subscription says (payments/notices.py)."""
        plan = self._catalog.get(row.plan)
        access_until = row.paid_until
        if access_until is not None and row.state == SubscriptionState.FAILED:
            access_until += self.terms.grace
        return {
            "charge_id": row.last_charge_id,
            "title": plan.title if plan else row.plan,
            "plan": row.plan,
            "price_stars": row.price_stars,
            "renews_at": row.current_period_end.isoformat(),
            "access_until": access_until.isoformat() if access_until else None,
        }


def _new_row(user: User, payload: str, order: Order | None, rows: Sequence[Subscription]) -> Subscription:
    """Begin the row of a subscription; one whose link was paid twice is like the other."""
    plan, price_stars = (order.plan, order.amount) if order else (rows[0].plan, rows[0].price_stars)
    return Subscription(
        user_id=user.id, plan=plan, payload=payload, price_stars=price_stars, state=SubscriptionState.ACTIVE
    )


async def _changes(session: AsyncSession, user_id: str, payload: str) -> list[Change]:
    query = select(SubscriptionChange).where(
        SubscriptionChange.user_id == user_id, SubscriptionChange.payload == payload
    )
    return [
        Change(
            id=row.id,
            state=SubscriptionState(row.state),
            recorded_at=row.recorded_at,
            update_id=row.update_id,
            charge_id=row.charge_id,
        )
        for row in await session.scalars(query)
    ]


async def _rows(session: AsyncSession, user_id: str, payload: str) -> Sequence[Subscription]:
    query = select(Subscription).where(Subscription.user_id == user_id, Subscription.payload == payload)
    return (await session.scalars(query.order_by(Subscription.first_charge_id))).all()
