"""Has Telegram end or resume renewals by editUserStarSubscription. The wish is on record before each attempt.

One process at a time works on a renewal.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from aiogram import Bot
from aiogram.exceptions import TelegramRetryAfter
from loguru import logger
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.engine import Database
from db.limits import ERROR_LENGTH_MAX
from db.retry import retry_transaction
from db.states import Renewal, SubscriptionState
from db.tables import Subscription, User
from db.users import lock_users
from entitlements.fold import SLACK
from payments.audit import subscription_changes
from payments.channel import CALL_SECONDS, LEASE_SECONDS
from payments.effects import Effects
from payments.loop import AWAY_ATTEMPTS_MAX, backoff, where_due, where_free
from payments.notices import Notice
from payments.pause import Pause
from payments.renewals import RENEWAL_PREFIX, RENEWING, RenewalReason, is_over
from payments.subscriptions.book import SubscriptionBook
from payments.subscriptions.charges import read_chains
from payments.telegram_errors import TELEGRAM_ERRORS, in_words, is_refusal

if TYPE_CHECKING:
    import loguru


IDS_MAX: Final = 3
"""One attempt tries so many charges, so that its calls end within the time of one piece of the loop (payments/loop.py).
"""

_NOT_ACTIVE: Final = "SUBSCRIPTION_NOT_ACTIVE"
_WRONG_CHARGE_WORDS: Final = (_NOT_ACTIVE, "CHARGE_ID_INVALID")
"""Telegram's words for a charge that names another subscription than the wanted one, or one that is over."""


@dataclass(frozen=True, slots=True)
class _ClaimedRenewal:
    """A wanted renewal that this process has claimed."""

    user_id: str
    telegram_id: int
    first_charge_id: str
    renewal: Renewal
    charge_ids: Sequence[str]
    """Charges that may name the subscription at Telegram: our first, then those that may be Telegram's first."""
    is_over: bool
    is_past_end: bool


class RenewalEditor:
    """Applies wanted renewals at Telegram, by the id of the first charge, as editUserStarSubscription asks (Bot API).

    The ledger leaves open which charge is the first. If Telegram does not know the subscription by one charge, the
    editor tries another before an admin has to look at it.
    """

    def __init__(
        self,
        database: Database,
        bot: Bot,
        book: SubscriptionBook,
        effects: Effects,
        clock: Clock,
        pause: Pause,
    ) -> None:
        """Prepare; the editor shares `pause` with everything that sends to Telegram."""
        self._pause = pause
        self._database = database
        self._bot = bot
        self._book = book
        self._effects = effects
        self._clock = clock

    async def apply_wanted_renewal(self, subscription_id: str) -> bool:
        """Apply at Telegram one wanted renewal that is due, and record the result; False: another process has it.

        The call comes between two transactions. Raises SQLAlchemy's errors when the database is away.
        """
        claimed = await self._claim_renewal(subscription_id)
        if claimed is None:
            return False
        if self._pause.until is not None:
            await self._wait_for_pause(subscription_id, claimed, self._pause.until)
            return True
        try:
            refusal = await self._call_telegram(claimed)
        except TelegramRetryAfter as error:
            await self._wait_for_pause(subscription_id, claimed, self._pause.ask(error.retry_after))
        except TELEGRAM_ERRORS as error:
            await self._record_failed_attempt(subscription_id, claimed, in_words(error))
        else:
            if refusal is None:
                await self._record_done(subscription_id, claimed)
            else:
                await self._give_up_renewal(subscription_id, claimed, refusal)
        return True

    async def _call_telegram(self, claimed: _ClaimedRenewal) -> str | None:
        """Call editUserStarSubscription, and return Telegram's refusal; None: the renewal is as wanted.

        "Not active" is a success if our own row agrees, or if the period is over and no other charge names an active
        subscription.
        """
        is_canceled = claimed.renewal is Renewal.CANCELED
        refusal: str | None = None
        for charge_id in claimed.charge_ids if is_canceled else claimed.charge_ids[:1]:
            try:
                await self._bot.edit_user_star_subscription(
                    user_id=claimed.telegram_id,
                    telegram_payment_charge_id=charge_id,
                    is_canceled=is_canceled,
                    request_timeout=CALL_SECONDS,
                )
            except TELEGRAM_ERRORS as error:
                if isinstance(error, TelegramRetryAfter) or not is_refusal(error):
                    raise
                if is_canceled and claimed.is_over and _NOT_ACTIVE in error.message:
                    return None
                refusal = refusal or error.message
                if not any(words in error.message for words in _WRONG_CHARGE_WORDS):
                    return error.message
            else:
                return None
        is_over_there = refusal is not None and _NOT_ACTIVE in refusal
        return None if is_canceled and is_over_there and claimed.is_past_end else refusal

    @retry_transaction
    async def _claim_renewal(self, subscription_id: str) -> _ClaimedRenewal | None:
        """Claim a wanted renewal that is due; None: another process has it, or it is due no more."""
        now = self._clock()
        claim = (
            update(Subscription)
            .where(Subscription.id == subscription_id, where_free(Subscription.claimed_until, now))
            .where(where_due(Subscription.due_at, now))
            .values(claimed_until=now + timedelta(seconds=LEASE_SECONDS + (IDS_MAX - 1) * CALL_SECONDS))
            .returning(Subscription)
        )
        async with self._database.transaction() as session:
            row = await session.scalar(claim)
            if row is None:
                return None
            charge_ids = await _possible_first_charges(session, row)
            telegram_id = await session.scalar(select(User.telegram_id).where(User.id == row.user_id))
        if telegram_id is None:
            raise ValueError(f"the subscription {subscription_id} has no subscriber at Telegram")
        return _ClaimedRenewal(
            *(row.user_id, telegram_id, row.first_charge_id, Renewal(row.renewal_wanted or ""), charge_ids),
            is_over=is_over(row),
            is_past_end=row.current_period_end <= now,
        )

    @retry_transaction
    async def _record_done(self, subscription_id: str, claimed: _ClaimedRenewal) -> None:
        """Record that Telegram has edited the renewal, and tell the subscriber."""
        now = self._clock()
        async with self._database.transaction() as session:
            user, row = await self._lock_claimed_row(session, subscription_id, claimed)
            if row is None:
                return
            row.due_at = row.claimed_until = row.error = None
            was_renewing = row.state in RENEWING
            if claimed.renewal is Renewal.CANCELED:
                subscription_changes.note_own(session, row, SubscriptionState.CANCELED, now)
                await self._book.update_from_charges(session, user, row.payload)
            because = RenewalReason(row.wanted_because or RenewalReason.BUYER)
            if because is RenewalReason.BUYER or (was_renewing and because is not RenewalReason.GIVEN_BACK):
                await self._tell_subscriber(session, user, row, Notice.RENEWAL_DONE, now)
        self._log(claimed).info("a renewal is {} at Telegram", claimed.renewal)

    @retry_transaction
    async def _give_up_renewal(self, subscription_id: str, claimed: _ClaimedRenewal, reason: str) -> None:
        """Give up a wanted renewal: record why, tell the subscriber, and the admins if Telegram may go on charging."""
        now = self._clock()
        async with self._database.transaction() as session:
            user, row = await self._lock_claimed_row(session, subscription_id, claimed)
            if row is None:
                return
            row.due_at = row.claimed_until = None
            row.error = reason[:ERROR_LENGTH_MAX]
            if row.wanted_because == RenewalReason.BUYER:
                await self._tell_subscriber(session, user, row, Notice.RENEWAL_REFUSED, now)
            # After a failure or a refund, Telegram may still charge for a subscription that is over for the desk.
            is_at_rest = row.state == SubscriptionState.ENDED and is_over(row)
            if claimed.renewal is Renewal.CANCELED and not is_at_rest:
                facts = self._book.notice_facts(row) | self._wish_facts(row)
                stuck = {
                    "buyer": user.telegram_id,
                    "reason": row.error,
                    "retry_id": RENEWAL_PREFIX + row.first_charge_id,
                }
                await self._effects.alert(session, Notice.RENEWAL_STUCK, _notice_key(row, now), facts | stuck)
        self._log(claimed).error("a renewal cannot be {} at Telegram: {}", claimed.renewal, reason)

    @retry_transaction
    async def _wait_for_pause(self, subscription_id: str, claimed: _ClaimedRenewal, until: datetime) -> None:
        """Postpone a wanted renewal until Telegram's pause is over; the number of its attempts stays."""
        async with self._database.transaction() as session:
            _, row = await self._lock_claimed_row(session, subscription_id, claimed)
            if row is not None:
                row.due_at = until
                row.claimed_until = None

    async def _record_failed_attempt(self, subscription_id: str, claimed: _ClaimedRenewal, words: str) -> None:
        """Record a failed attempt at a renewal, and try again after a backoff; after the last, give up."""
        async with self._database.transaction() as session:
            _, row = await self._lock_claimed_row(session, subscription_id, claimed)
            if row is None:
                return
            row.attempts += 1
            row.claimed_until = None
            row.error = words[:ERROR_LENGTH_MAX]
            attempts = row.attempts
            row.due_at = self._clock() + backoff(attempts, random.random())  # noqa: S311 - jitter
        if attempts >= AWAY_ATTEMPTS_MAX:
            await self._give_up_renewal(subscription_id, claimed, words)
        else:
            self._log(claimed).warning("a renewal waits to be {}: {}", claimed.renewal, words)

    async def _lock_claimed_row(
        self, session: AsyncSession, subscription_id: str, claimed: _ClaimedRenewal
    ) -> tuple[User, Subscription | None]:
        """Lock the subscriber, and read the claimed subscription; None: its wish has changed meanwhile."""
        [user] = await lock_users(session, User.id == claimed.user_id)
        row = await session.get_one(Subscription, subscription_id, populate_existing=True)
        return user, (row if row.renewal_wanted == claimed.renewal and row.due_at is not None else None)

    async def _tell_subscriber(
        self, session: AsyncSession, user: User, row: Subscription, notice: Notice, now: datetime
    ) -> None:
        """Owe the subscriber a notice of a wanted renewal's result."""
        await self._effects.tell_subscriber(
            session, notice, _notice_key(row, now), user, self._book.notice_facts(row) | self._wish_facts(row)
        )

    def _wish_facts(self, row: Subscription) -> dict[str, object]:
        """Return the facts of a notice about a wanted renewal: the wish, and its reason."""
        return {"renewal": row.renewal_wanted, "because": row.wanted_because}

    def _log(self, claimed: _ClaimedRenewal) -> "loguru.Logger":
        """Return a logger that names the renewal's subscriber and first charge."""
        return logger.bind(charge_id=claimed.first_charge_id, user_id=claimed.user_id, telegram_id=claimed.telegram_id)


async def _possible_first_charges(session: AsyncSession, row: Subscription) -> Sequence[str]:
    """List the charge ids that may name a subscription at Telegram, at most IDS_MAX, the likeliest first.

    After the first charge come charges that follow a gap, because one of them may have begun the subscription, then
    first charges of older subscriptions on the link, and the newest charge last.
    """
    chains = await read_chains(session, row.user_id, row.payload)
    own = next((each for each in chains if any(row.first_charge_id == p.charge.id for p in each.periods)), None)
    ids = [row.first_charge_id]
    if own is not None:
        pairs = list(zip(own.periods, own.periods[1:], strict=False))
        ids += [later.charge.id for before, later in reversed(pairs) if later.charge.paid_at > before.ends_at + SLACK]
        ids += [each.first.id for each in reversed(chains) if each.first.paid_at < own.first.paid_at]
        ids += [own.newest.id]
    return list(dict.fromkeys(ids))[:IDS_MAX]


def _notice_key(row: Subscription, now: datetime) -> str:
    """Return the key of a notice about a wanted renewal; with its time, each result has a notice of its own."""
    return f"{RENEWAL_PREFIX}{row.first_charge_id}:{now.isoformat()}"
