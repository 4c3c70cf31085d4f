"""The channel of cards: refunds go to Stripe."""

from payments.channel import RefundOrder
from payments.errors import RefusedByChannelError
from payments.methods import CARDS, Method
from payments.stripe.api import StripeApi


class CardChannel:
    """Gives money back over Stripe's API."""

    method: Method = CARDS

    def __init__(self, api: StripeApi) -> None:
        self._api = api

    async def refund(self, order: RefundOrder) -> None:
        """Refund the order's amount, of which Stripe never gives back more than was paid.

        An attempt whose answer was lost is found among the charge's refunds by the row that it names. Raises
        ChannelError.
        """
        try:
            made = await self._api.refund(
                order.charge_id, order.amount, row=order.event_id, idempotency_key=order.attempt_key
            )
        except RefusedByChannelError:
            # "Already refunded", or "more than is left": by us or by somebody at Stripe, the list of refunds knows.
            known = await self._api.refunds(order.charge_id)
            if not any(each.row == order.event_id and each.is_through for each in known):
                raise
            return
        if not made.is_through:
            raise RefusedByChannelError(str(made.status), f"Stripe says of the refund: {made.status}")
