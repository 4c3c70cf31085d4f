"""The loop over subscriptions: settles what Telegram told of them, does what is wanted, sees what time has changed."""

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
from entitlements.service import lock_users
from payments.audit import subscription_changes
from payments.audit.facts import SubscriptionFact
from payments.channel import is_due, is_free
from payments.loop import Cooldown, DueLoop, Gate
from payments.subscriptions.book import SubscriptionBook
from payments.subscriptions.editor import RenewalEditor
from payments.subscriptions.reminders import Reminders

BATCH_MAX: Final = 50


class SubscriptionKeeper:
    """Does what is due for subscriptions, each piece in a transaction of its own."""

    def __init__(
        self,
        database: Database,
        book: SubscriptionBook,
        editor: RenewalEditor,
        reminders: Reminders,
        clock: Clock,
        on_progress: Callable[[], None],
    ) -> None:
        """Prepare the loop; `on_progress` is called whenever notices may have become due."""
        self._database = database
        self._book = book
        self._editor = editor
        self._reminders = reminders
        self._clock = clock
        self._on_progress = on_progress
        self._gate = Gate()
        self._cooldown = Cooldown(clock)
        self.terms = book.terms
        self.loop = DueLoop("subscriptions", self.work_once)

    async def settle(self, fact: SubscriptionFact) -> None:
        """Settle what an update has told and what is on record; unless the ledger is to be passed over first."""
        async with self._database.reading() as session:
            is_open = await self._gate.is_open(session)
            user_id = await session.scalar(select(User.id).where(User.telegram_id == fact.person.telegram_id))
        if is_open and user_id is not None:
            await self._settle_changes(user_id, fact.payload)
            self._on_progress()

    async def work_once(self) -> int:
        """Do what is due now, at most 50 of each kind; return how much there was.

        Raises SQLAlchemy's errors when the database is away.
        """
        now = self._clock()
        held = self._cooldown.current()
        async with self._database.reading() as session:
            if not await self._gate.is_open(session):
                return 0
            told = await subscription_changes.unsettled(session, BATCH_MAX, but=held)
            checks = [await session.scalars(query(now, held)) for query in (select_to_check, select_ahead)]
            to_check = [(row.user_id, row.payload) for found_rows in checks for row in found_rows]
            wanted = (await session.scalars(select_wanted(now, held))).all()
        found = 0
        for user_id, payload in dict.fromkeys([*told, *to_check]):
            found += await self._try(f"{user_id} {payload}", partial(self._settle_changes, user_id, payload))
        for subscription_id in wanted:
            found += await self._try(subscription_id, partial(self._editor.bring_about, subscription_id))
        found += await self._try("reminders", self._remind)
        if found:
            self._on_progress()
        return found

    async def _remind(self) -> int:
        await self._reminders.withdraw()
        return await self._reminders.remind_once()

    async def _try(self, key: str, work: Callable[[], Awaitable[int | None]]) -> int:
        """Do one piece, and return how much there was. One that fails must not hold up the others, nor end the loop."""
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
    async def _settle_changes(self, user_id: str, payload: str) -> int:
        """Bring a user's subscriptions on one payload up to date, by all that is told and by the time.

        Returns 1, or 0 when that has changed nothing: what cannot be helped does not keep the loop awake.
        """
        now = self._clock()
        on_payload = Subscription.user_id == user_id, Subscription.payload == payload
        due = select(func.count()).select_from(Subscription)
        due = due.where(*on_payload, or_(Subscription.check_at <= now, Subscription.checked_at > now))
        async with self._database.transaction() as session:
            [user] = await lock_users(session, User.id == user_id)
            due_before = (await session.scalars(due)).one()
            await self._book.follow(session, user, payload)
            await self._book.keep_one(session, user)
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


def select_to_check(now: datetime, but: Collection[str] = ()) -> Select[Subscription]:
    """Select those of which time alone has changed something, without the keys in `but`: the longest due first."""
    due = select(Subscription).where(Subscription.check_at <= now)
    due = due.where((Subscription.user_id + " " + Subscription.payload).not_in(but))
    return due.order_by(Subscription.check_at).limit(BATCH_MAX)


def select_ahead(now: datetime, but: Collection[str] = ()) -> Select[Subscription]:
    """Select those that were made anew by a clock which was ahead of `now`, without the keys in `but`."""
    ahead = select(Subscription).where(Subscription.checked_at > now)
    ahead = ahead.where((Subscription.user_id + " " + Subscription.payload).not_in(but))
    return ahead.order_by(Subscription.checked_at).limit(BATCH_MAX)


def select_wanted(now: datetime, but: Collection[str] = ()) -> Select[str]:
    """Select the ids of those whose renewal is to be another and that nobody is at, without those in `but`.

    The longest due come first.
    """
    due = select(Subscription.id).where(is_due(Subscription.due_at, now), is_free(Subscription.claimed_until, now))
    return due.where(Subscription.id.not_in(but)).order_by(Subscription.due_at).limit(BATCH_MAX)
