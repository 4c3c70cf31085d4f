"""Brings about at Telegram the refunds that are on record."""

from datetime import timedelta
from typing import Final

from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from sqlalchemy import or_, update

from db.clock import Clock
from db.engine import Database
from db.tables import ORIGIN, StripeEvent, User

CALL_SECONDS: Final = 30
LEASE_SECONDS: Final = 60
"""How long a refund is left alone while its call is under way; longer than the call's own time-out."""


class RefundSender:
    """Calls refundStarPayment, for one process at a time."""

    def __init__(self, database: Database, bot: Bot, clock: Clock) -> None:
        self._database = database
        self._bot = bot
        self._clock = clock

    async def send(self, event_id: str) -> bool:
        """Call refundStarPayment for a refund that is due; True when Telegram has it, False when another does it now.

        No transaction is open during the call. `CHARGE_ALREADY_REFUNDED` is success: an answer may have been lost.
        Raises aiogram's TelegramAPIError or its network errors when Telegram refuses or is away.
        """
        claimed = await self._claim(event_id)
        if claimed is None:
            return False
        telegram_id, charge_id = claimed
        try:
            await self._bot.refund_star_payment(
                user_id=telegram_id, telegram_payment_charge_id=charge_id, request_timeout=CALL_SECONDS
            )
        except TelegramBadRequest as error:
            if "CHARGE_ALREADY_REFUNDED" not in error.message:
                raise
        return True

    async def _claim(self, event_id: str) -> tuple[int, str] | None:
        now = self._clock()
        claim = (
            update(StripeEvent)
            .where(StripeEvent.event_id == event_id, StripeEvent.origin == ORIGIN, StripeEvent.due_at.is_not(None))
            .where(or_(StripeEvent.claimed_until.is_(None), StripeEvent.claimed_until <= now))
            .values(claimed_until=now + timedelta(seconds=LEASE_SECONDS))
            .returning(StripeEvent.customer_id, StripeEvent.refund_of)
        )
        async with self._database.transaction() as session:
            row = (await session.execute(claim)).one_or_none()
            if row is None:
                return None
            user = await session.get_one(User, row.customer_id)
        if user.telegram_id is None or row.refund_of is None:
            raise ValueError(f"the refund {event_id} of ours has no charge or no buyer")
        return user.telegram_id, row.refund_of
