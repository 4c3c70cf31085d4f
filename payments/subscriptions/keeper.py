"""Settles Telegram's changes of subscriptions, applies wanted renewals, and follows the passing of time, in a loop."""

from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from functools import partial
from typing import Final

from loguru import logger
from sqlalchemy import Select, func, or_, select, update

from db.clock import Clock
from db.engine import Database
from db.errors import is_away, is_held_up
from db.retry import retry_transaction
from db.tables import Subscription, SubscriptionChange, User
from db.timings import PRODUCTION
from db.users import lock_users
from payments.audit import subscription_changes
from payments.audit.facts import SubscriptionFact
from payments.loop import Cooldown, DueLoop, Gate, where_due, where_free
from payments.subscriptions.book import SubscriptionBook
from payments.subscriptions.editor import RenewalEditor
from payments.subscriptions.reminders import Reminders

BATCH_MAX: Final = 50


class SubscriptionKeeper:
    """Does the due work on subscriptions, each piece in a transaction of its own."""

    def __init__(
        self,
        database: Database,
        book: SubscriptionBook,
        editor: RenewalEditor,
        reminders: Reminders,
        clock: Clock,
        on_progress: Callable[[], None],
        idle_seconds: float = PRODUCTION.loop_idle_seconds,
        batch_max: int = BATCH_MAX,
    ) -> None:
        """Prepare the loop over subscriptions; it calls `on_progress` when notices may be due."""
        self._database = database
        self._book = book
        self._editor = editor
        self._reminders = reminders
        self._clock = clock
        self._on_progress = on_progress
        self._batch_max = batch_max
        self._gate = Gate()
        self._cooldown = Cooldown(clock)
        self.terms = book.terms
        self.loop = DueLoop("subscriptions", self.work_once, idle_seconds)

    async def settle(self, fact: SubscriptionFact) -> None:
        """Settle a subscription's recorded changes at once, unless a whole pass over the ledger has to come first."""
        async with self._database.reading() as session:
            is_open = await self._gate.is_open(session)
            user_id = await session.scalar(select(User.id).where(User.telegram_id == fact.person.telegram_id))
        if is_open and user_id is not None:
            await self._update_subscriptions(user_id, fact.payload)
            self._on_progress()

    async def work_once(self) -> int:
        """Do the due work on subscriptions, at most 50 pieces of each kind; return the number of pieces done.

        1. Return at once while a whole pass over the ledger has to come first.
        2. Update the subscriptions with unsettled changes, those that time has changed, and those checked ahead of the
           clock.
        3. Apply the wanted renewals at Telegram (payments/subscriptions/editor.py).
        4. Withdraw outdated reminders, and owe new ones (payments/subscriptions/reminders.py).

        A piece that fails cools down and holds up no other. Raises SQLAlchemy's errors when the database is away.
        """
        now = self._clock()
        held, limit = self._cooldown.current(), self._batch_max
        async with self._database.reading() as session:
            if not await self._gate.is_open(session):
                return 0
            told = await subscription_changes.unsettled(session, limit, but=held)
            checks = [
                await session.scalars(query(now, held, limit))
                for query in (select_subscriptions_to_check, select_checked_ahead_of_clock)
            ]
            to_check = [(row.user_id, row.payload) for found_rows in checks for row in found_rows]
            wanted = (await session.scalars(select_wanted_renewals(now, held, limit))).all()
        found = 0
        for user_id, payload in dict.fromkeys([*told, *to_check]):
            found += await self._work_on_piece(
                f"{user_id} {payload}", partial(self._update_subscriptions, user_id, payload)
            )
        for subscription_id in wanted:
            found += await self._work_on_piece(
                subscription_id, partial(self._editor.apply_wanted_renewal, subscription_id)
            )
        found += await self._work_on_piece("reminders", self._update_reminders)
        if found:
            self._on_progress()
        return found

    async def _update_reminders(self) -> int:
        """Withdraw outdated reminders, and owe new ones; return the number of ends of access looked at."""
        await self._reminders.withdraw_reminders()
        return await self._reminders.owe_reminders_once()

    async def _work_on_piece(self, key: str, work: Callable[[], Awaitable[int | None]]) -> int:
        """Do one piece of work on subscriptions; a piece that fails cools down, and the loop goes on."""
        if key in self._cooldown.current() or self.loop.is_stopping:
            return 0
        self.loop.beat()
        try:
            found = await work()
        except Exception as error:
            if is_away(error) and not is_held_up(error):
                raise
            self._cooldown.add(key, "a subscription", error, logger.bind(subscription=key))
            return 0
        return 1 if found is None else found

    @retry_transaction
    async def _update_subscriptions(self, user_id: str, payload: str) -> int:
        """Update a user's subscriptions on one payload, by all changes and by the time; return the pieces done.

        The result is 1, or 0 when the records stay the same, because only a change may keep the loop awake.
        """
        now = self._clock()
        on_payload = Subscription.user_id == user_id, Subscription.payload == payload
        due = select(func.count()).select_from(Subscription)
        due = due.where(*on_payload, or_(Subscription.check_at <= now, Subscription.checked_at > now))
        async with self._database.transaction() as session:
            [user] = await lock_users(session, User.id == user_id)
            due_before = (await session.scalars(due)).one()
            await self._book.update_from_charges(session, user, payload)
            await self._book.end_replaced_renewals(session, user)
            settled = (
                update(SubscriptionChange)
                .where(
                    SubscriptionChange.user_id == user_id,
                    SubscriptionChange.payload == payload,
                    SubscriptionChange.settled_at.is_(None),
                )
                .values(settled_at=now)
                .returning(SubscriptionChange.id)
            )
            changed = len((await session.scalars(settled)).all())
            due_after = (await session.scalars(due)).one()
        return int(bool(changed) or due_after < due_before)


def select_subscriptions_to_check(
    now: datetime, but: Collection[str] = (), limit: int = BATCH_MAX
) -> Select[Subscription]:
    """Select the subscriptions that time alone has changed, the longest due first, without the keys in `but`."""
    due = select(Subscription).where(Subscription.check_at <= now)
    due = due.where((Subscription.user_id + " " + Subscription.payload).not_in(but))
    return due.order_by(Subscription.check_at).limit(limit)


def select_checked_ahead_of_clock(
    now: datetime, but: Collection[str] = (), limit: int = BATCH_MAX
) -> Select[Subscription]:
    """Select the subscriptions whose last check has a date after `now`, without the keys in `but`.

    Somebody has set the clock back since that check.
    """
    ahead = select(Subscription).where(Subscription.checked_at > now)
    ahead = ahead.where((Subscription.user_id + " " + Subscription.payload).not_in(but))
    return ahead.order_by(Subscription.checked_at).limit(limit)


def select_wanted_renewals(now: datetime, but: Collection[str] = (), limit: int = BATCH_MAX) -> Select[str]:
    """Select the ids of subscriptions with a wanted renewal, due and unclaimed, the longest due first.

    The selection leaves out the ids in `but`.
    """
    due = select(Subscription.id).where(
        where_due(Subscription.due_at, now), where_free(Subscription.claimed_until, now)
    )
    return due.where(Subscription.id.not_in(but)).order_by(Subscription.due_at).limit(limit)
