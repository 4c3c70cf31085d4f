"""Writes a subscription's row, its grants' ends, its grace and its notices, all worked out from charges and changes.

`update_from_charges` works all of them out again from the records, in the caller's transaction, so that any order of
arrival ends in the same state. The caller holds the user's lock.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import and_, bindparam, not_, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.states import Renewal, SubscriptionState
from db.tables import Subscription, SubscriptionChange, User
from entitlements import EntitlementService
from payments.audit.facts import Change
from payments.effects import Effects
from payments.notices import TOLD_DAYS_MAX, Notice
from payments.renewals import UNREAD_PLAN, RenewalReason, where_may_take_more
from payments.sale.catalog import Catalog
from payments.sale.payload import Order
from payments.subscriptions.chain import (
    Chain,
    SubscriptionStatus,
    Terms,
    charge_order,
    subscription_status,
)
from payments.subscriptions.charges import read_chains
from payments.subscriptions.grants import SubscriptionGrants
from payments.subscriptions.precedence import Rival, is_replaced
from payments.subscriptions.running import read_rivals

CLOCKS_APART_MAX: Final = timedelta(days=1)
"""Telegram's clock may be so far ahead of ours; a lifetime grant from so near a future counts already."""

_ROWS: Final = (
    select(Subscription)
    .where(Subscription.user_id == bindparam("user_id"), Subscription.payload == bindparam("payload"))
    .order_by(Subscription.first_charge_id)
)
_END_IS_REFUSED: Final = and_(
    Subscription.renewal_wanted == Renewal.CANCELED, Subscription.due_at.is_(None), Subscription.error.is_not(None)
)
_RENEWING_ROWS: Final = (
    select(Subscription)
    .where(Subscription.user_id == bindparam("user_id"), where_may_take_more(), not_(_END_IS_REFUSED))
    .order_by(Subscription.id)
)

_ACCESS_GOES_ON: Final = frozenset({RenewalReason.FOR_LIFE, RenewalReason.REPLACED})
"""Reasons for ending a renewal while access goes on; the subscriber gets no notice of such an end."""


class SubscriptionBook:
    """Keeps the rows and grants of subscriptions up to date, by the seller's terms; `effects` owes the notices."""

    def __init__(self, catalog: Catalog, clock: Clock, effects: Effects, terms: Terms) -> None:
        self._catalog = catalog
        self._clock = clock
        self._effects = effects
        self.terms = terms
        self._grants = SubscriptionGrants(clock, effects)

    async def update_from_charges(
        self,
        session: AsyncSession,
        user: User,
        payload: str,
        order: Order | None = None,
        *,
        unread_price_stars: int | None = None,
    ) -> dict[str, Subscription]:
        """Update a user's subscriptions on one payload from all charges and changes; return their rows by charge id.

        1. Read the rows on the payload, and the chains of charges (payments/subscriptions/division.py).
        2. Set the grants' ends to the periods' ends; grant grace after each failed renewal.
        3. Pair each chain with its row, and write its charges, state and dates into it; begin a row where there is
           none.
        4. Tell the subscriber of a new state, and of a renewal that is near.
        5. End the rows whose first charge belongs to another chain.

        `order` is the payload's content, and `unread_price_stars` the price of a subscription whose payload is
        unreadable. Without either, there is nothing to write until the settlement of a first charge has made a row.
        """
        await session.flush()
        rows = await _read_rows(session, user.id, payload)
        is_begun = order is not None or unread_price_stars is not None or rows
        if not is_begun:
            return {}
        chains = await read_chains(session, user.id, payload)
        await self._grants.update_ends(session, user, chains, self.terms)
        followed: dict[str, Subscription] = {}
        for row, chain in _pair_rows_with_chains(rows, chains):
            written = row or _new_row(user, payload, order, rows, unread_price_stars)
            if row is None:
                session.add(written)
            await self._update_row(session, user, written, chain)
            followed |= dict.fromkeys((period.charge.id for period in chain.periods), written)
        for row in rows:
            if row not in followed.values():
                self._end_orphaned_row(row, followed.get(row.first_charge_id))
        await session.flush()
        return followed

    async def end_replaced_renewals(self, session: AsyncSession, user: User) -> Sequence[Subscription]:
        """Have Telegram end the renewals of replaced subscriptions; return those subscriptions.

        Failed ones, ones that are over by our clock, and ones renewed after all are among them, because Telegram may
        charge for each again.
        """
        await session.flush()
        rivals = await read_rivals(session, user.id)
        ended = []
        for each in rivals:
            if each.row is None:
                continue
            if each.is_to_end:
                self._withdraw_replacement(each.row, each, rivals)
            elif is_replaced(each, rivals, self._clock()):
                self._effects.end_renewal(each.row, RenewalReason.REPLACED)
                ended.append(each.row)
        return ended

    async def end_unwanted_renewal(
        self, session: AsyncSession, user: User, row: Subscription, *, is_beside: bool
    ) -> None:
        """Have Telegram end a subscription that it renewed against the wish; tell the subscriber and the admins.

        `is_beside`: its newest charge has ended another subscription with the same entitlement. The charge opens its
        time all the same.
        """
        goes_on = row.renewal_wanted != Renewal.CANCELED or row.state == SubscriptionState.CANCELED
        if goes_on or await self._is_resumed(session, row):
            if is_beside:
                await self._tell_unwanted_renewal(session, user, row, is_for_subscriber=False)
            return
        is_asked_for = row.wanted_because == RenewalReason.BUYER and row.due_at is not None
        self._effects.end_renewal(row, RenewalReason(row.wanted_because or RenewalReason.BUYER))
        if not is_asked_for:
            await self._tell_unwanted_renewal(session, user, row, is_for_subscriber=True)

    async def end_lifetime_renewals(self, session: AsyncSession, user: User) -> None:
        """Have Telegram end the renewals that open only entitlements that the user holds for life."""
        # A lifetime charge may have a date that our clock has yet to reach.
        held = await EntitlementService(session).held_for_life(user.id, self._clock() + CLOCKS_APART_MAX)
        for row in await self._read_renewing_rows(session, user) if held else ():
            plan = self._catalog.get(row.plan)
            if plan is not None and held.issuperset(plan.entitlements):
                self._effects.end_renewal(row, RenewalReason.FOR_LIFE)

    async def _read_renewing_rows(self, session: AsyncSession, user: User) -> Sequence[Subscription]:
        """Read a user's subscriptions that Telegram may charge for, without those whose end Telegram has refused."""
        return (await session.scalars(_RENEWING_ROWS, {"user_id": user.id})).all()

    def _withdraw_replacement(self, row: Subscription, rival: Rival, rivals: Sequence[Rival]) -> None:
        """Let a replaced subscription renew if the desk refunds its replacement before Telegram ends the renewal."""
        is_open = row.due_at is not None or row.error is not None
        if row.wanted_because != RenewalReason.REPLACED or not is_open or row.claimed_until is not None:
            return
        later = [
            each
            for each in rivals
            if each.opens_same(rival) and charge_order(each.chain.first) > charge_order(rival.chain.first)
        ]
        if later and all(each.chain.first.is_given_back for each in later):
            row.renewal_wanted = row.wanted_because = row.due_at = row.error = None
            row.attempts = 0

    def _end_orphaned_row(self, row: Subscription, heir: Subscription | None) -> None:
        """End an orphaned subscription row; `heir`, the row of the chain with its charge, inherits its wish."""
        is_open = row.due_at is not None or row.error is not None
        if heir is not None and is_open and row.renewal_wanted == Renewal.CANCELED:
            self._effects.end_renewal(heir, RenewalReason(row.wanted_because or RenewalReason.BUYER))
        row.state = SubscriptionState.ENDED
        row.checked_at = self._clock()
        row.check_at = row.paid_until = row.renewal_wanted = row.wanted_because = None
        row.due_at = row.claimed_until = row.error = None

    async def _is_resumed(self, session: AsyncSession, row: Subscription) -> bool:
        """Tell whether the subscriber has resumed a subscription, by the last change that Telegram told of."""
        change = None if row.change_id is None else await session.get(SubscriptionChange, row.change_id)
        return change is not None and change.state == SubscriptionState.ACTIVE

    async def _tell_unwanted_renewal(
        self, session: AsyncSession, user: User, row: Subscription, *, is_for_subscriber: bool
    ) -> None:
        """Owe the admins a notice of a renewal that Telegram should have ended, and the subscriber if wanted."""
        facts = self.notice_facts(row) | {"because": row.wanted_because}
        if is_for_subscriber:
            await self._effects.tell_subscriber(session, Notice.RENEWED_ANYWAY, row.last_charge_id, user, facts)
        admins = facts | {"buyer": user.telegram_id}
        await self._effects.alert(session, Notice.RENEWED_UNWANTED, row.last_charge_id, admins)

    async def _update_row(self, session: AsyncSession, user: User, row: Subscription, chain: Chain) -> None:
        """Write a chain's charges, state and dates into its subscription row, and tell the subscriber of changes."""
        status = subscription_status(chain, self.terms, self._clock())
        change, paid = chain.current_change, chain.paid
        before, seen = SubscriptionState(row.state), row.change_id
        if row.error is not None and row.first_charge_id != chain.first.id and row.renewal_wanted == Renewal.CANCELED:
            # The desk called Telegram by a renewal's charge, and only now knows the first charge: call by that one. A
            # buyer's refused wish to resume stays refused: a notice has told the buyer, and only another press of the
            # button may cost Stars.
            self._effects.end_renewal(row, RenewalReason(row.wanted_because or RenewalReason.BUYER))
        row.first_charge_id = chain.first.id
        row.last_charge_id = chain.newest.id
        row.current_period_end = chain.ends_at
        row.paid_until = paid.ends_at if paid else None
        row.state = status.state
        row.check_at, row.checked_at = status.check_at, self._clock()
        if row.check_at is None and chain.tried_until is not None and self._clock() < chain.tried_until:
            # The subscription is over for the desk, but Telegram may still try to charge the next price.
            row.check_at = chain.tried_until
        row.change_id = chain.changes[-1].id if chain.changes else None
        await session.flush()
        # editor.py makes the desk's own changes, and tells the subscriber of them.
        is_news = change is not None and change.charge_id is None and change.id != seen
        await self._tell_new_state(session, user, row, before, change if is_news else None, status)

    async def _tell_new_state(
        self,
        session: AsyncSession,
        user: User,
        row: Subscription,
        before: SubscriptionState,
        news: Change | None,
        status: SubscriptionStatus,
    ) -> None:
        """Owe the subscriber a notice of a subscription's new state, or of a renewal that is near."""
        now = self._clock()
        tell = self._effects.tell_subscriber
        of_period, facts = row.last_charge_id, self.notice_facts(row)
        if status.state is SubscriptionState.ENDED:
            is_recent = row.paid_until is not None and now - row.paid_until < timedelta(days=TOLD_DAYS_MAX)
            if before is not SubscriptionState.ENDED and is_recent and row.wanted_because not in _ACCESS_GOES_ON:
                await tell(session, Notice.SUBSCRIPTION_ENDED, of_period, user, facts)
        elif news is not None and status.state is not before:
            match status.state:
                case SubscriptionState.CANCELED:
                    await tell(session, Notice.SUBSCRIPTION_CANCELED, f"change:{news.id}", user, facts)
                case SubscriptionState.FAILED:
                    await tell(session, Notice.SUBSCRIPTION_FAILED, of_period, user, facts)
                case SubscriptionState.ACTIVE:
                    await tell(session, Notice.SUBSCRIPTION_ACTIVE, f"change:{news.id}", user, facts)
        is_ending = row.renewal_wanted == Renewal.CANCELED and row.due_at is not None
        if status.is_reminder_due and row.paid_until == row.current_period_end and not is_ending:
            await tell(session, Notice.RENEWAL_SOON, of_period, user, facts)

    def notice_facts(self, row: Subscription) -> dict[str, object]:
        """Return the facts that every notice about a subscription has (payments/notices.py)."""
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


def _pair_rows_with_chains(
    rows: Sequence[Subscription], chains: Sequence[Chain]
) -> Sequence[tuple[Subscription | None, Chain]]:
    """Pair each chain with its subscription row: that of its first charge, else of any of its charges."""
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
    """Make the row of a new subscription; a second one on the same link takes plan and price from the first."""
    if order is not None:
        plan, price_stars = order.plan, order.amount
    elif rows:
        plan, price_stars = rows[0].plan, rows[0].price_stars
    else:
        plan, price_stars = UNREAD_PLAN, unread_price_stars or 0
    return Subscription(
        user_id=user.id, plan=plan, payload=payload, price_stars=price_stars, state=SubscriptionState.ACTIVE
    )


async def _read_rows(session: AsyncSession, user_id: str, payload: str) -> Sequence[Subscription]:
    """Read the rows of a user's subscriptions on one payload, by first charge."""
    return (await session.scalars(_ROWS, {"user_id": user_id, "payload": payload})).all()
