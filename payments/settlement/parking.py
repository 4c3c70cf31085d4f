"""Parks an audit row: leaves a charge or a refund to the admins, and tells them and the buyer."""

from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.states import EventOutcome, EventStatus
from db.tables import StripeEvent, User
from payments.audit import transitions
from payments.effects import Effects
from payments.notices import Notice


class Parking:
    """Parks audit rows in the caller's transaction, dated by Telegram's time."""

    def __init__(self, effects: Effects, telegram_now: Clock) -> None:
        self._effects = effects
        self._telegram_now = telegram_now

    async def park(self, session: AsyncSession, event: StripeEvent, reason: str) -> None:
        """Park an audit row for a reason, and tell the admins and the buyer. The caller holds the user's lock."""
        transitions.set_aside(event, EventOutcome.PARKED, reason, parked_at=self._telegram_now())
        await self.tell(session, event, reason)

    async def tell(self, session: AsyncSession, event: StripeEvent, reason: str) -> None:
        """Tell the admins that an audit row is parked, and the buyer that a charge waits.

        The buyer of a settled charge hears nothing, because for the buyer it has come to its end.
        """
        user = await session.get_one(User, event.customer_id)
        is_settled = event.status == EventStatus.PROCESSED
        # `again`, because an admin who has retried a row waits to hear that it is parked once more.
        await self._effects.tell_admins(
            session, Notice.PARKED, event, user, reason, again=True, **({"is_settled": True} if is_settled else {})
        )
        if event.refund_of is None and not is_settled:
            await self._effects.tell_buyer(session, Notice.WAITING, event, user)
