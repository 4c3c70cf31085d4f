"""Sends refunds on record to their providers, one process at a time."""

from datetime import timedelta

from sqlalchemy import func, update

from db.clock import Clock
from db.engine import Database
from db.retry import retry_transaction
from db.states import ORIGIN
from db.tables import StripeEvent, User, new_id
from payments.channel import LEASE_SECONDS, Channels, RefundOrder
from payments.errors import RefusedByChannelError
from payments.loop import where_free
from payments.methods import METHODS


class RefundSender:
    """Claims a due refund, and calls the channel of its method with it."""

    def __init__(self, database: Database, channels: Channels, clock: Clock) -> None:
        self._database = database
        self._channels = channels
        self._clock = clock

    async def send(self, event_id: str) -> bool:
        """Send a due refund to its provider; True: the provider has it, False: another process sends it now.

        1. Claim the row for LEASE_SECONDS, with an idempotency key that an unresolved attempt keeps.
        2. Call the channel, with no transaction open.

        Raises ChannelError when the provider refuses or is away. The caller settles the row.
        """
        claimed = await self._claim(event_id)
        if claimed is None:
            return False
        method_name, order = claimed
        if method_name not in self._channels:
            closed = RefusedByChannelError("closed", f"no way to refund {method_name} is set up")
            # The desk has asked no provider, so the result of an earlier attempt stays unknown and its key stays in
            # force.
            closed.ends_attempt = False
            raise closed
        await self._channels[method_name].refund(order)
        return True

    @retry_transaction
    async def _claim(self, event_id: str) -> tuple[str, RefundOrder] | None:
        now = self._clock()
        fresh_key = new_id()
        claim = (
            update(StripeEvent)
            .where(StripeEvent.event_id == event_id, StripeEvent.origin == ORIGIN, StripeEvent.due_at.is_not(None))
            .where(where_free(StripeEvent.claimed_until, now))
            .values(
                claimed_until=now + timedelta(seconds=LEASE_SECONDS),
                attempt_key=func.coalesce(StripeEvent.attempt_key, fresh_key),
            )
            .returning(StripeEvent)
        )
        async with self._database.transaction() as session:
            refund = await session.scalar(claim)
            if refund is None:
                return None
            user = await session.get_one(User, refund.customer_id)
        if user.telegram_id is None or refund.refund_of is None or refund.attempt_key is None:
            raise ValueError(f"the refund {event_id} of ours has no charge or no buyer")
        order = RefundOrder(
            event_id=event_id,
            attempt_key=refund.attempt_key,
            may_be_made=refund.attempt_key != fresh_key,
            charge_id=METHODS[refund.payment_method].provider_charge_id(refund.refund_of),
            amount=refund.amount_cents,
            currency=refund.currency,
            buyer_telegram_id=user.telegram_id,
        )
        return refund.payment_method, order
