"""Keeps what follows from a subscription's charges and changes: its grants' ends, its grace, its row, what is told.

`follow` makes all of it anew from what is on record, in the caller's transaction, so that any order of arrival ends in
the same state. The caller holds the user's lock.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import and_, not_, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.tables import Renewal, Subscription, SubscriptionChange, SubscriptionState, User
from entitlements import EntitlementService
from entitlements.contradictions import WantedGrant, find_contradictions
from payments.audit import events
from payments.audit.facts import Change
from payments.effects import Effects
from payments.methods import STARS, grace_source
from payments.notices import TOLD_DAYS_MAX, Notice
from payments.renewals import UNREAD_PLAN, RenewalReason, may_take_more
from payments.sale.catalog import Catalog
from payments.sale.payload import Order
from payments.subscriptions.chain import Chain, Charge, SubscriptionStatus, Terms, failed_periods, place, stand
from payments.subscriptions.charges import read_chains
from payments.subscriptions.precedence import Rival, is_replaced
from payments.subscriptions.running import read_rivals

CLOCKS_APART_MAX: Final = timedelta(days=1)
"""How far Telegram's clock is believed to be ahead of ours, where believing too much does no harm."""

_GOES_ON: Final = frozenset({RenewalReason.FOR_LIFE, RenewalReason.REPLACED})
"""Why a renewal was ended while access goes on: its end is no news."""


class SubscriptionBook:
    """The subscriptions' rows and grants. Knows the seller's terms and the time; what is told is left to `effects`."""

    def __init__(self, catalog: Catalog, clock: Clock, effects: Effects, terms: Terms) -> None:
        self._catalog = catalog
        self._clock = clock
        self._effects = effects
        self.terms = terms

    async def follow(
        self,
        session: AsyncSession,
        user: User,
        payload: str,
        order: Order | None = None,
        *,
        unread_price_stars: int | None = None,
    ) -> dict[str, Subscription]:
        """Bring a user's subscriptions on one payload up to what is known now; return them by each charge's id.

        `order` is what the payload says: without it, nothing is done before the first charge is settled; unless
        `unread_price_stars` says what is paid for a subscription whose payload cannot be read.
        """
        await session.flush()
        rows = await _rows(session, user.id, payload)
        is_begun = order is not None or unread_price_stars is not None or rows
        if not is_begun:
            return {}
        chains = await read_chains(session, user.id, payload)
        await self._date_grants(session, user, chains)
        followed: dict[str, Subscription] = {}
        for row, chain in _claim(rows, chains):
            written = row or _new_row(user, payload, order, rows, unread_price_stars)
            if row is None:
                session.add(written)
            await self._write(session, user, written, chain)
            followed |= dict.fromkeys((period.charge.id for period in chain.periods), written)
        for row in rows:
            if row not in followed.values():
                self._lay_to_rest(row, followed.get(row.first_charge_id))
        await session.flush()
        return followed

    async def keep_one(self, session: AsyncSession, user: User) -> Sequence[Subscription]:
        """End the renewals of what another subscription has taken the place of; return those that are ended by now.

        Telegram may try them again, whether they have failed, are over by a clock of ours, or were renewed after all.
        """
        await session.flush()
        rivals = await read_rivals(session, User.id == user.id)
        ended = []
        for each in rivals:
            if each.row is None:
                continue
            if each.is_to_end:
                self._take_back(each.row, each, rivals)
            elif is_replaced(each, rivals, self._clock()):
                self._effects.end_renewal(each.row, RenewalReason.REPLACED)
                ended.append(each.row)
        return ended

    async def note_renewed(self, session: AsyncSession, user: User, row: Subscription, *, is_beside: bool) -> None:
        """End again what Telegram has renewed although it is to renew no more, and tell the subscriber and the admins.

        `is_beside`: its newest charge has ended another one that opens the same. The money opens its time all the same.
        """
        goes_on = row.renewal_wanted != Renewal.CANCELED or row.state == SubscriptionState.CANCELED
        if goes_on or await self._is_taken_up(session, row):
            if is_beside:
                await self._tell_renewed(session, user, row, is_for_subscriber=False)
            return
        is_asked_for = row.wanted_because == RenewalReason.BUYER and row.due_at is not None
        self._effects.end_renewal(row, RenewalReason(row.wanted_because or RenewalReason.BUYER))
        if not is_asked_for:
            await self._tell_renewed(session, user, row, is_for_subscriber=True)

    async def end_covered_for_life(self, session: AsyncSession, user: User) -> None:
        """End the renewals of whatever opens nothing that the user does not hold for life."""
        # A charge may bear a moment that our clock has not reached yet.
        held = await EntitlementService(session).held_for_life(User.id == user.id, self._clock() + CLOCKS_APART_MAX)
        for row in await self._running(session, user) if held else ():
            plan = self._catalog.get(row.plan)
            if plan is not None and held.issuperset(plan.entitlements):
                self._effects.end_renewal(row, RenewalReason.FOR_LIFE)

    async def _running(self, session: AsyncSession, user: User) -> Sequence[Subscription]:
        """Return those for which Telegram may take the next price, and of which nobody has wanted the end in vain."""
        is_refused = and_(
            Subscription.renewal_wanted == Renewal.CANCELED,
            Subscription.due_at.is_(None),
            Subscription.error.is_not(None),
        )
        query = select(Subscription).where(Subscription.user_id == user.id, may_take_more(), not_(is_refused))
        return (await session.scalars(query.order_by(Subscription.id))).all()

    def _take_back(self, row: Subscription, rival: Rival, rivals: Sequence[Rival]) -> None:
        """Let it renew after all, if what had taken its place goes back and Telegram was not told yet."""
        is_open = row.due_at is not None or row.error is not None
        if row.wanted_because != RenewalReason.REPLACED or not is_open or row.claimed_until is not None:
            return
        later = [
            each for each in rivals if each.opens_same(rival) and place(each.chain.first) > place(rival.chain.first)
        ]
        if later and all(each.chain.first.goes_back for each in later):
            row.renewal_wanted = row.wanted_because = row.due_at = row.error = None
            row.attempts = 0

    def _lay_to_rest(self, row: Subscription, heir: Subscription | None) -> None:
        """End a row that no charge begins any more: its charge renews another one, which inherits what was wanted."""
        is_open = row.due_at is not None or row.error is not None
        if heir is not None and is_open and row.renewal_wanted == Renewal.CANCELED:
            self._effects.end_renewal(heir, RenewalReason(row.wanted_because or RenewalReason.BUYER))
        row.state = SubscriptionState.ENDED
        row.checked_at = self._clock()
        row.check_at = row.paid_until = row.renewal_wanted = row.wanted_because = None
        row.due_at = row.claimed_until = row.error = None

    async def _is_taken_up(self, session: AsyncSession, row: Subscription) -> bool:
        """Tell whether the subscriber has taken it up again, by the last that Telegram has told of its state."""
        change = None if row.change_id is None else await session.get(SubscriptionChange, row.change_id)
        return change is not None and change.state == SubscriptionState.ACTIVE

    async def _tell_renewed(
        self, session: AsyncSession, user: User, row: Subscription, *, is_for_subscriber: bool
    ) -> None:
        facts = self.facts(row) | {"because": row.wanted_because}
        if is_for_subscriber:
            await self._effects.tell_subscriber(session, Notice.RENEWED_ANYWAY, row.last_charge_id, user, facts)
        admins = facts | {"buyer": user.telegram_id}
        await self._effects.alert(session, Notice.RENEWED_UNWANTED, row.last_charge_id, admins)

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
            self._effects.end_renewal(row, RenewalReason(row.wanted_because or RenewalReason.BUYER))
        row.first_charge_id = chain.first.id
        row.last_charge_id = chain.newest.id
        row.current_period_end = chain.ends_at
        row.paid_until = paid.ends_at if paid else None
        row.state = standing.state
        row.check_at, row.checked_at = standing.check_at, self._clock()
        if row.check_at is None and chain.tried_until is not None and self._clock() < chain.tried_until:
            # Over for us, and maybe not at Telegram, which may try to take another price.
            row.check_at = chain.tried_until
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
        standing: SubscriptionStatus,
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


def _claim(rows: Sequence[Subscription], chains: Sequence[Chain]) -> Sequence[tuple[Subscription | None, Chain]]:
    """Pair each subscription with its row: the one of its first charge, else one of any of its charges."""
    first = {chain.first.id for chain in chains}
    by_charge = {row.first_charge_id: row for row in rows}
    paired = []
    for chain in chains:
        ids = [period.charge.id for period in chain.periods]
        spare = next((by_charge[each] for each in ids if each in by_charge and each not in first), None)
        paired.append((by_charge.get(chain.first.id, spare), chain))
    return paired


def _new_row(
    user: User, payload: str, order: Order | None, rows: Sequence[Subscription], unread_price_stars: int | None
) -> Subscription:
    """Begin the row of a subscription; one whose link was paid twice is like the other."""
    if order is not None:
        plan, price_stars = order.plan, order.amount
    elif rows:
        plan, price_stars = rows[0].plan, rows[0].price_stars
    else:
        plan, price_stars = UNREAD_PLAN, unread_price_stars or 0
    return Subscription(
        user_id=user.id, plan=plan, payload=payload, price_stars=price_stars, state=SubscriptionState.ACTIVE
    )


async def _rows(session: AsyncSession, user_id: str, payload: str) -> Sequence[Subscription]:
    query = select(Subscription).where(Subscription.user_id == user_id, Subscription.payload == payload)
    return (await session.scalars(query.order_by(Subscription.first_charge_id))).all()
