"""Effects of a settlement outside our database: notices to people, refunds to send, renewals to end.

Each effect is a row in the caller's transaction; a loop acts on it after the commit (bot/sending/outbox.py,
payments/refunds/sending.py). A rebuild settles the past with the `SILENT` ones, because the desk has said and sent all
of it before.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.states import BY_ITSELF, Renewal
from db.tables import StripeEvent, Subscription, User
from entitlements.fold import SLACK
from entitlements.standings import read_ends
from payments.notices import Admins, Notice, handle, is_old_news, money_facts, owe, release
from payments.refunds import requests
from payments.renewals import RenewalReason, record_wanted_renewal
from payments.sale.catalog import Plan

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
"""Notices that only say that something happened. The others say that the desk acts now, or that something waits."""


class Effects:
    """Silent effects: they tell nobody, refund nothing and end no renewal. `OutwardEffects` does each of these.

    The caller holds the user's lock.
    """

    settles_past = True
    """True: the desk settles charges of the past, in the order of their dates, so that no grant of a later date counts.

    No buyer gets back the time that a late settlement took.
    """

    async def tell_granted(self, session: AsyncSession, charge: StripeEvent, user: User, plan: Plan) -> None:
        """Tell the buyer the access that a charge has opened, and its end."""

    async def tell_buyer(
        self, session: AsyncSession, notice: Notice, event: StripeEvent, user: User, **facts: object
    ) -> None:
        """Tell the user of a charge or refund, by a notice with its facts (payments/notices.py)."""

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
        """Alert the admins, once for a row and a notice unless `again`; `facts` are this notice's."""

    async def tell_asker(self, session: AsyncSession, refund: StripeEvent, *, is_part: bool) -> None:
        """Tell the admin who asked for a refund that it is done; `is_part`: the charge has a remainder."""

    async def give_back(self, session: AsyncSession, charge: StripeEvent, user: User, reason: str) -> bool:  # noqa: ARG002 - OutwardEffects needs them
        """Refund a charge and tell its buyer; False: nothing goes back by itself, an admin decides."""
        return False

    async def tell_subscriber(
        self, session: AsyncSession, notice: Notice, key: str, user: User, facts: Mapping[str, object]
    ) -> None:
        """Tell a subscriber, once for a notice and a `key`, which stands for an event's id."""

    async def alert(self, session: AsyncSession, notice: Notice, key: str, facts: Mapping[str, object]) -> None:
        """Tell the admins of something without an audit row, once for a notice and a `key`."""

    def end_renewal(self, subscription: Subscription, because: RenewalReason) -> None:
        """End a subscription's renewal at Telegram, for a reason that goes on record."""


SILENT: Final = Effects()
"""The effects of settling the past a second time."""


class OutwardEffects(Effects):
    """Effects of a desk that is open: records each of them, due at once."""

    settles_past = False

    def __init__(self, clock: Clock, admins: Admins) -> None:
        self._clock = clock
        self._admins = admins

    async def tell_granted(self, session: AsyncSession, charge: StripeEvent, user: User, plan: Plan) -> None:
        """Owe the buyer the notice of the access that a charge has opened, unless it is old news."""
        if is_old_news(charge):
            return
        ends = await read_ends(session, user.id, plan.entitlements)
        access = [(each, _sold_until(charge, until)) for each, until in sorted(ends.items())]
        is_renewal = bool(charge.is_recurring and not charge.is_first_recurring)
        await self.tell_buyer(
            session, Notice.GRANTED, charge, user, title=plan.title, access=access, is_renewal=is_renewal
        )

    async def tell_buyer(
        self, session: AsyncSession, notice: Notice, event: StripeEvent, user: User, **facts: object
    ) -> None:
        """Owe a notice to the user of a charge or refund, unless it is old news."""
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
        """Owe each admin chat a notice about a charge or refund, unless it is old news."""
        if notice in _NEWS and is_old_news(event):
            return
        facts = money_facts(event) | {"buyer": user.telegram_id, "reason": reason} | facts
        if notice is Notice.PARKED:
            facts["retry_id"] = handle(event)
        await self._admins.tell(session, notice, event.event_id, facts, self._clock(), again=again)

    async def tell_asker(self, session: AsyncSession, refund: StripeEvent, *, is_part: bool) -> None:
        """Release the held notice to the admin who asked for a refund."""
        instead = Notice.PART_DONE if is_part else None
        await release(session, Notice.REFUND_DONE, refund.event_id, self._clock(), instead=instead)

    async def give_back(self, session: AsyncSession, charge: StripeEvent, user: User, reason: str) -> bool:
        """Open the refund of a charge, for the worker to send, and owe its buyer the notice."""
        await requests.record_refund_request(session, charge, reason=reason, requested_by=BY_ITSELF, now=self._clock())
        await self.tell_buyer(session, Notice.GIVING_BACK, charge, user, reason=reason)
        return True

    async def tell_subscriber(
        self, session: AsyncSession, notice: Notice, key: str, user: User, facts: Mapping[str, object]
    ) -> None:
        """Owe a subscriber a notice about a subscription."""
        await self._tell(session, notice, key, user, facts)

    async def alert(self, session: AsyncSession, notice: Notice, key: str, facts: Mapping[str, object]) -> None:
        """Owe a notice without an audit row to each admin chat."""
        await self._admins.tell(session, notice, key, facts, self._clock())

    def end_renewal(self, subscription: Subscription, because: RenewalReason) -> None:
        """Record that a renewal is to end; the loop over subscriptions tells Telegram."""
        record_wanted_renewal(subscription, Renewal.CANCELED, because, self._clock())

    async def _tell(
        self, session: AsyncSession, notice: Notice, key: str, user: User, facts: Mapping[str, object]
    ) -> None:
        """Owe a user a notice in the chat with the bot; a user of another service has no such chat."""
        if user.telegram_id is not None:
            chat_id, now = user.telegram_id, self._clock()
            await owe(session, notice, event_id=key, chat_id=chat_id, facts=dict(facts), now=now)


def _sold_until(charge: StripeEvent, until: datetime | None) -> str | None:
    """Return the end of access that a charge has sold, in ISO 8601, from the end as it stands; None: for life."""
    if until is None:
        return None
    ends_at = charge.subscription_expires_at
    # The slack bridges a renewal that comes a little late; the desk does not sell it.
    return (ends_at if ends_at is not None and until == ends_at + SLACK else until).isoformat()
