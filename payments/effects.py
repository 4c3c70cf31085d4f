"""What settling does beyond the desk's own books: people are told, and money that cannot be kept goes back.

Each effect is a row in the caller's transaction, tried after its commit (bot/sending/outbox.py,
payments/refunds/sending.py). A rebuild settles the past a second time, and with `NoEffects`: all of it has been said
and sent before.
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.tables import Entitlement, Renewal, StripeEvent, Subscription, User
from entitlements.fold import SLACK
from payments.notices import Admins, Notice, handle, is_old_news, money_facts, owe, release
from payments.refunds import asking
from payments.renewals import RenewalReason, want
from payments.sale.catalog import Plan

BY_ITSELF: Final = "starledger"
"""`requested_by` of a refund that no person asked for."""
_NEWS: Final = frozenset(
    {
        Notice.GRANTED,
        Notice.WAITING,
        Notice.REFUNDED,
        Notice.PARTLY_REFUNDED,
        Notice.CHARGED_BACK,
        Notice.REFUNDED_OUTSIDE,
        Notice.PARTLY_REFUNDED_OUTSIDE,
    }
)
"""What says no more than that something has happened. The others tell of what the desk does now, or of what waits."""


class Effects:
    """The outward effects of a settlement: what each is, and none of them done. The caller holds the user's lock."""

    gives_time_back: bool
    """Whether the time that a late settlement took from a buyer is given back."""
    goes_by_date: bool
    """Whether events are settled in the order of their dates: then nothing counts that was granted later."""

    async def tell_granted(self, session: AsyncSession, charge: StripeEvent, user: User, plan: Plan) -> None:
        """Tell the buyer what a charge has opened, and until when."""

    async def tell_buyer(
        self, session: AsyncSession, notice: Notice, event: StripeEvent, user: User, **facts: object
    ) -> None:
        """Tell the event's user; a notice with its facts (payments/notices.py)."""

    async def tell_admins(
        self,
        session: AsyncSession,
        notice: Notice,
        event: StripeEvent,
        user: User,
        reason: str | None = None,
        *,
        again: bool = False,
        **facts: object,
    ) -> None:
        """Alert the admins, once for an event and a notice unless `again`; `facts` are what this notice has more."""

    async def tell_asker(self, session: AsyncSession, refund: StripeEvent, *, is_part: bool) -> None:
        """Tell the admin who asked for a refund that it is done; `is_part`: some of the charge is left even so."""

    async def give_back(self, session: AsyncSession, charge: StripeEvent, user: User, reason: str) -> bool:  # noqa: ARG002 - for those who do
        """Have a charge refunded and tell its buyer so; False: nothing goes back by itself, an admin decides."""
        return False

    async def tell_subscriber(
        self, session: AsyncSession, notice: Notice, key: str, user: User, facts: Mapping[str, object]
    ) -> None:
        """Tell of a subscription, once for a `key` (where an event's id would stand) and a notice."""

    async def alert(self, session: AsyncSession, notice: Notice, key: str, facts: Mapping[str, object]) -> None:
        """Tell the admins of something that is no event, once for a `key` and a notice."""

    def end_renewal(self, subscription: Subscription, because: RenewalReason) -> None:
        """Have Telegram renew it no more."""


class NoEffects(Effects):
    """Nobody is told, nothing goes out."""

    gives_time_back = False
    goes_by_date = True


class OutwardEffects(Effects):
    """The effects of a desk that is open: they are put on record, due at once."""

    gives_time_back = True
    goes_by_date = False

    def __init__(self, clock: Clock, admins: Admins) -> None:
        self._clock = clock
        self._admins = admins

    async def tell_granted(self, session: AsyncSession, charge: StripeEvent, user: User, plan: Plan) -> None:
        """Owe the notice, unless the charge came to us as old news."""
        if is_old_news(charge):
            return
        query = select(Entitlement).where(
            Entitlement.user_id == user.id, Entitlement.entitlement_type.in_(plan.entitlements)
        )
        access = []
        for each in await session.scalars(query, execution_options={"populate_existing": True}):
            until = each.expires_at
            ends_at = charge.subscription_expires_at
            if until is not None and ends_at is not None and until == ends_at + SLACK:
                # The slack bridges a renewal that comes a little late; it is not sold.
                until = ends_at
            access.append((each.entitlement_type, until.isoformat() if until else None))
        is_renewal = bool(charge.is_recurring and not charge.is_first_recurring)
        await self.tell_buyer(
            session, Notice.GRANTED, charge, user, title=plan.title, access=access, is_renewal=is_renewal
        )

    async def tell_buyer(
        self, session: AsyncSession, notice: Notice, event: StripeEvent, user: User, **facts: object
    ) -> None:
        """Owe the notice to the user, unless it is old news."""
        if notice in _NEWS and is_old_news(event):
            return
        await self._tell(session, notice, event.event_id, user, money_facts(event) | facts)

    async def tell_admins(
        self,
        session: AsyncSession,
        notice: Notice,
        event: StripeEvent,
        user: User,
        reason: str | None = None,
        *,
        again: bool = False,
        **facts: object,
    ) -> None:
        """Owe the notice to each chat where admins are told, unless it is old news."""
        if notice in _NEWS and is_old_news(event):
            return
        facts = money_facts(event) | {"buyer": user.telegram_id, "reason": reason} | facts
        if notice is Notice.PARKED:
            facts["retry_id"] = handle(event)
        await self._admins.tell(session, notice, event.event_id, facts, self._clock(), again=again)

    async def tell_asker(self, session: AsyncSession, refund: StripeEvent, *, is_part: bool) -> None:
        """Release the notice that was held until now."""
        instead = Notice.PART_DONE if is_part else None
        await release(session, Notice.REFUND_DONE, refund.event_id, self._clock(), instead=instead)

    async def give_back(self, session: AsyncSession, charge: StripeEvent, user: User, reason: str) -> bool:
        """Open the refund, for the worker to send."""
        await asking.open_refund(session, charge, reason=reason, requested_by=BY_ITSELF, now=self._clock())
        await self.tell_buyer(session, Notice.GIVING_BACK, charge, user, reason=reason)
        return True

    async def tell_subscriber(
        self, session: AsyncSession, notice: Notice, key: str, user: User, facts: Mapping[str, object]
    ) -> None:
        """Owe the notice to the user."""
        await self._tell(session, notice, key, user, facts)

    async def alert(self, session: AsyncSession, notice: Notice, key: str, facts: Mapping[str, object]) -> None:
        """Owe the notice to each chat where admins are told."""
        await self._admins.tell(session, notice, key, facts, self._clock())

    def end_renewal(self, subscription: Subscription, because: RenewalReason) -> None:
        """Put it on record as wanted, for the renewals' loop to bring about."""
        want(subscription, Renewal.CANCELED, because, self._clock())

    async def _tell(
        self, session: AsyncSession, notice: Notice, key: str, user: User, facts: Mapping[str, object]
    ) -> None:
        """Owe the notice to a user, in the chat with the bot; a user of another service has none."""
        if user.telegram_id is not None:
            chat_id, now = user.telegram_id, self._clock()
            await owe(session, notice, event_id=key, chat_id=chat_id, facts=dict(facts), now=now)
