"""Owes the buyer a reminder before bought days end, with a button to buy them again; one for each purchase."""

import json
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Row, Select, exists, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.engine import Database
from db.retry import retry_transaction
from db.states import SubscriptionState
from db.tables import Entitlement, EntitlementGrant, OutboxMessage, StripeEvent, Subscription, User
from entitlements.fold import SLACK
from payments.methods import charge_of
from payments.notices import Notice, owe
from payments.sale.catalog import Catalog
from payments.sale.payload import PayloadSigner

BATCH_MAX: Final = 50
LOOK_AGAIN_HOURS: Final = 1
"""The reminders begin again with the nearest end of access so often, because a refund may bring an end nearer."""

_REMINDERS: Final = (Notice.ACCESS_ENDS_SOON, Notice.RENEWAL_SOON)
_Ending = Row[str, int | None, str, datetime | None]
_Place = tuple[datetime, str, str]


class Reminders:
    """Looks through the ends of access ahead, a piece at a time, and owes one reminder for each purchase that ends."""

    def __init__(
        self, database: Database, catalog: Catalog, signer: PayloadSigner, clock: Clock, remind_days: int
    ) -> None:
        """Prepare; `remind_days` 0 switches the reminders off."""
        self._database = database
        self._catalog = catalog
        self._signer = signer
        self._clock = clock
        self._remind_days = remind_days
        self._seen: _Place | None = None
        self._look_again_at: datetime | None = None

    async def owe_reminders_once(self) -> int:
        """Owe reminders for the next ends of access that are near, at most 50; return the number of ends.

        Raises SQLAlchemy's errors when the database is away.
        """
        if not self._remind_days:
            return 0
        now = self._clock()
        hour = timedelta(hours=LOOK_AGAIN_HOURS)
        # The hour is over, or somebody has set the clock back since it began.
        if self._look_again_at is None or not now < self._look_again_at <= now + hour:
            self._seen, self._look_again_at = None, now + hour
        until = now + timedelta(days=self._remind_days)
        async with self._database.reading() as session:
            ends = (await session.execute(select_ending_access(now, until, self._seen))).all()
            bought = [(row, await self._find_purchase(session, row)) for row in ends]
        owed = [(row, *found) for row, found in bought if found is not None]
        if owed:
            async with self._database.transaction() as session:
                for row, charge_id, plan_code in owed:
                    plan = self._catalog.get(plan_code)
                    await owe(
                        session,
                        Notice.ACCESS_ENDS_SOON,
                        event_id=charge_id,
                        chat_id=row.telegram_id,
                        facts={
                            "title": plan.title if plan else plan_code,
                            "plan": plan_code,
                            "until": row.expires_at.isoformat(),
                        },
                        now=now,
                    )
        if ends:
            self._seen = (ends[-1].expires_at, ends[-1].user_id, ends[-1].entitlement_type)
        return len(ends)

    @retry_transaction
    async def withdraw_reminders(self) -> None:
        """Withdraw unsent reminders after a renewal, a cancellation, another purchase or a refund, at most 50.

        Raises SQLAlchemy's errors when the database is away.
        """
        waiting = (
            select(OutboxMessage)
            .where(OutboxMessage.due_at.is_not(None), OutboxMessage.kind.in_(_REMINDERS))
            .order_by(OutboxMessage.due_at)
            .limit(BATCH_MAX)
        )
        async with self._database.reading() as session:
            stale = [row.id for row in await session.scalars(waiting) if not await self._is_reminder_true(session, row)]
        if stale:
            withdrawn = update(OutboxMessage).where(OutboxMessage.id.in_(stale), OutboxMessage.due_at.is_not(None))
            async with self._database.transaction() as session:
                await session.execute(withdrawn.values(due_at=None, error="no longer so"))

    async def _is_reminder_true(self, session: AsyncSession, reminder: OutboxMessage) -> bool:
        """Tell whether a reminder is still true: the renewal or the end that it names lies ahead."""
        now = self._clock()
        if reminder.kind == Notice.RENEWAL_SOON:
            so = exists().where(
                Subscription.last_charge_id == reminder.event_id,
                Subscription.state == SubscriptionState.ACTIVE,
                Subscription.current_period_end > now,
            )
        else:
            until = datetime.fromisoformat(json.loads(reminder.facts)["until"])
            of_reader = Entitlement.user_id.in_(select(User.id).where(User.telegram_id == reminder.chat_id))
            so = exists().where(of_reader, Entitlement.expires_at == until, Entitlement.expires_at > now)
        return bool(await session.scalar(select(so)))

    async def _find_purchase(self, session: AsyncSession, row: _Ending) -> tuple[str, str] | None:
        """Find the charge and plan of the days that end; None: no purchase ends, or another one goes on."""
        grants = select(EntitlementGrant).where(
            EntitlementGrant.user_id == row.user_id,
            EntitlementGrant.entitlement_type == row.entitlement_type,
            EntitlementGrant.revoked_at.is_(None),
        )
        bought: EntitlementGrant | None = None
        for grant in await session.scalars(grants.order_by(EntitlementGrant.granted_at)):
            if grant.ends_at is not None and grant.ends_at + SLACK >= row.expires_at:
                return None
            if grant.duration_days is not None and charge_of(grant.source) is not None:
                bought = grant
        if bought is None or await self._has_renewing_subscription(session, row):
            return None
        bought_with = StripeEvent.event_id == charge_of(bought.source)
        charge = (await session.scalars(select(StripeEvent).where(bought_with))).one_or_none()
        # A charge recorded after the reminder's time needs none: its settlement has told the buyer the end, or a whole
        # pass has settled the past in silence.
        told_at = row.expires_at - timedelta(days=self._remind_days)
        if charge is None or charge.created_at is None or charge.created_at >= told_at:
            return None
        reading = self._signer.read(charge.payload or "")
        order = reading.order or reading.claimed
        return None if order is None else (charge.event_id, order.plan)

    async def _has_renewing_subscription(self, session: AsyncSession, row: _Ending) -> bool:
        """Tell whether an active subscription opens the entitlement that ends, so that a reminder is needless."""
        active = select(Subscription.plan).where(
            Subscription.user_id == row.user_id, Subscription.state == SubscriptionState.ACTIVE
        )
        plans = [self._catalog.get(code) for code in await session.scalars(active)]
        return any(plan is not None and row.entitlement_type in plan.entitlements for plan in plans)


def select_ending_access(
    now: datetime, until: datetime, seen: _Place | None
) -> Select[str, int | None, str, datetime | None]:
    """Select the next ends of access between two moments, after `seen`, the place of the last reminder."""
    place = (Entitlement.expires_at, Entitlement.user_id, Entitlement.entitlement_type)
    query = (
        select(Entitlement.user_id, User.telegram_id, Entitlement.entitlement_type, Entitlement.expires_at)
        .join(User, User.id == Entitlement.user_id)
        .where(
            Entitlement.expires_at > now,
            Entitlement.expires_at <= until,
            Entitlement.revoked_at.is_(None),
            User.telegram_id.is_not(None),
        )
        .order_by(*place)
        .limit(BATCH_MAX)
    )
    return query if seen is None else query.where(tuple_(*place) > seen)
