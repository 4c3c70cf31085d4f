"""Brings about at Telegram what is wanted of renewals: on record before it is tried, one process at a time."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from aiogram import Bot
from aiogram.exceptions import TelegramRetryAfter
from loguru import logger
from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.engine import Database
from db.tables import Renewal, Subscription, SubscriptionState, User
from entitlements.service import lock_users
from payments.effects import Effects
from payments.events import AWAY_ATTEMPTS_MAX, ERROR_LENGTH_MAX, pause
from payments.lease import CALL_SECONDS, LEASE_SECONDS
from payments.notices import Notice
from payments.pause import Pause
from payments.subscriptions import changes
from payments.subscriptions.book import SubscriptionBook
from payments.subscriptions.listing import RENEWING
from payments.subscriptions.wanted import RENEWAL_PREFIX, Because
from payments.telegram_errors import TELEGRAM_ERRORS, in_words, is_refusal

if TYPE_CHECKING:
    import loguru


@dataclass(frozen=True, slots=True)
class _Claimed:
    user_id: str
    telegram_id: int
    first_charge_id: str
    renewal: Renewal


class RenewalEditor:
    """Calls editUserStarSubscription, with the first charge's id as Telegram asks (Bot API)."""

    def __init__(
        self,
        database: Database,
        bot: Bot,
        book: SubscriptionBook,
        effects: Effects,
        clock: Clock,
        pause: Pause | None = None,
    ) -> None:
        """Prepare; `pause` is that of whoever else sends to Telegram."""
        self._pause = pause or Pause(clock)
        self._database = database
        self._bot = bot
        self._book = book
        self._effects = effects
        self._clock = clock

    async def bring_about(self, subscription_id: str) -> None:
        """Do what is wanted of one renewal and is due, and note what came of it; nothing when another process is at it.

        No transaction is open during the call. Raises SQLAlchemy's errors when the database is away.
        """
        claimed = await self._claim(subscription_id)
        if claimed is None:
            return
        is_canceled = claimed.renewal is Renewal.CANCELED
        if self._pause.until is not None:
            await self._rest(subscription_id, claimed, self._pause.until)
            return
        try:
            await self._bot.edit_user_star_subscription(
                user_id=claimed.telegram_id,
                telegram_payment_charge_id=claimed.first_charge_id,
                is_canceled=is_canceled,
                request_timeout=CALL_SECONDS,
            )
        except TelegramRetryAfter as error:
            await self._rest(subscription_id, claimed, self._pause.ask(error.retry_after))
        except TELEGRAM_ERRORS as error:
            # A subscription that is over renews no more: what was wanted is so.
            if not is_refusal(error):
                await self._postpone(subscription_id, claimed, in_words(error))
            elif is_canceled and "SUBSCRIPTION_NOT_ACTIVE" in error.message:
                await self._note_done(subscription_id, claimed)
            else:
                await self._give_up(subscription_id, claimed, error.message)
        else:
            await self._note_done(subscription_id, claimed)

    async def _claim(self, subscription_id: str) -> _Claimed | None:
        now = self._clock()
        claim = (
            update(Subscription)
            .where(Subscription.id == subscription_id, Subscription.due_at <= now)
            .where(or_(Subscription.claimed_until.is_(None), Subscription.claimed_until <= now))
            .values(claimed_until=now + timedelta(seconds=LEASE_SECONDS))
            .returning(Subscription.user_id, Subscription.first_charge_id, Subscription.renewal_wanted)
        )
        async with self._database.transaction() as session:
            row = (await session.execute(claim)).one_or_none()
            if row is None:
                return None
            telegram_id = await session.scalar(select(User.telegram_id).where(User.id == row.user_id))
        if telegram_id is None:
            raise ValueError(f"the subscription {subscription_id} has no subscriber at Telegram")
        return _Claimed(row.user_id, telegram_id, row.first_charge_id, Renewal(row.renewal_wanted))

    async def _note_done(self, subscription_id: str, claimed: _Claimed) -> None:
        now = self._clock()
        async with self._database.transaction() as session:
            user, row = await self._lock(session, subscription_id, claimed)
            if row is None:
                return
            row.due_at = row.claimed_until = row.error = None
            was_renewing = row.state in RENEWING
            if claimed.renewal is Renewal.CANCELED:
                changes.note_own(session, row, SubscriptionState.CANCELED, now)
                await self._book.follow(session, user, row.payload)
            because = Because(row.wanted_because or Because.BUYER)
            if because is Because.BUYER or (was_renewing and because is not Because.GIVEN_BACK):
                await self._tell(session, user, row, Notice.RENEWAL_DONE, now)
        self._log(claimed).info("a renewal is {} at Telegram", claimed.renewal)

    async def _give_up(self, subscription_id: str, claimed: _Claimed, reason: str) -> None:
        now = self._clock()
        async with self._database.transaction() as session:
            user, row = await self._lock(session, subscription_id, claimed)
            if row is None:
                return
            row.due_at = row.claimed_until = None
            row.error = reason[:ERROR_LENGTH_MAX]
            if row.wanted_because == Because.BUYER:
                await self._tell(session, user, row, Notice.RENEWAL_REFUSED, now)
            # What has ended takes no more Stars, whatever Telegram says of it.
            if claimed.renewal is Renewal.CANCELED and row.state != SubscriptionState.ENDED:
                facts = self._book.facts(row) | self._wanted(row)
                stuck = {
                    "buyer": user.telegram_id,
                    "reason": row.error,
                    "retry_id": RENEWAL_PREFIX + row.first_charge_id,
                }
                await self._effects.alert(session, Notice.RENEWAL_STUCK, _key(row, now), facts | stuck)
        self._log(claimed).error("a renewal is not {} at Telegram: {}", claimed.renewal, reason)

    async def _rest(self, subscription_id: str, claimed: _Claimed, until: datetime) -> None:
        """Leave it alone while Telegram asks for a pause: that is no failed attempt."""
        async with self._database.transaction() as session:
            _, row = await self._lock(session, subscription_id, claimed)
            if row is not None:
                row.due_at = until
                row.claimed_until = None

    async def _postpone(self, subscription_id: str, claimed: _Claimed, words: str) -> None:
        """Try again after a growing pause, until an admin has to look at it."""
        async with self._database.transaction() as session:
            _, row = await self._lock(session, subscription_id, claimed)
            if row is None:
                return
            row.attempts += 1
            row.claimed_until = None
            row.error = words[:ERROR_LENGTH_MAX]
            attempts = row.attempts
            row.due_at = self._clock() + pause(attempts, random.random())  # noqa: S311 - jitter
        if attempts >= AWAY_ATTEMPTS_MAX:
            await self._give_up(subscription_id, claimed, words)
        else:
            self._log(claimed).warning("a renewal waits, not {} yet: {}", claimed.renewal, words)

    async def _lock(
        self, session: AsyncSession, subscription_id: str, claimed: _Claimed
    ) -> tuple[User, Subscription | None]:
        """Lock the subscriber and read the row; None: something else is wanted of it meanwhile, and due by itself."""
        [user] = await lock_users(session, User.id == claimed.user_id)
        row = await session.get_one(Subscription, subscription_id, populate_existing=True)
        return user, (row if row.renewal_wanted == claimed.renewal and row.due_at is not None else None)

    async def _tell(self, session: AsyncSession, user: User, row: Subscription, notice: Notice, now: datetime) -> None:
        await self._effects.tell_subscriber(
            session, notice, _key(row, now), user, self._book.facts(row) | self._wanted(row)
        )

    def _wanted(self, row: Subscription) -> dict[str, object]:
        return {"renewal": row.renewal_wanted, "because": row.wanted_because}

    def _log(self, claimed: _Claimed) -> "loguru.Logger":
        return logger.bind(charge_id=claimed.first_charge_id, user_id=claimed.user_id, telegram_id=claimed.telegram_id)


def _key(row: Subscription, now: datetime) -> str:
    """Name what is told of one call: each is told, and committed with what it says."""
    return f"{RENEWAL_PREFIX}{row.first_charge_id}:{now.isoformat()}"
