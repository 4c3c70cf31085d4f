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
            answered = await self._api.refund(
                order.charge_id, order.amount, row=order.event_id, idempotency_key=order.attempt_key
            )
        except RefusedByChannelError as error:
            # "Already refunded", or "more than is left": by us or by somebody at Stripe, the list of refunds knows.
            made = [each.made for each in await self._api.refunds(order.charge_id)]
            if not any(each.row == order.event_id and each.is_through for each in made):
                raise RefusedByChannelError(error.code, str(error), made) from None
            return
        # An old attempt is answered as it was then (Stripe API, idempotent requests); the refund may have failed since.
        refund = await self._api.refund_now(answered.id)
        if not refund.is_through:
            raise RefusedByChannelError(str(refund.status), f"Stripe says of the refund: {refund.status}")
