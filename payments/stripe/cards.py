"""The channel of cards: refunds go to Stripe."""

from collections.abc import Sequence

from payments.channel import MadeRefund, RefundOrder
from payments.errors import ChannelAwayError, PaymentError, RefusedByChannelError
from payments.methods import CARDS, Method
from payments.stripe.api import StripeApi


class CardChannel:
    """Gives money back over Stripe's API."""

    method: Method = CARDS

    def __init__(self, api: StripeApi) -> None:
        self._api = api

    async def refund(self, order: RefundOrder) -> None:
        """Refund the order's amount, of which Stripe never gives back more than was paid.

        An attempt whose answer was lost is found among the charge's refunds by the row that it names: Stripe forgets a
        key after a day, and would make it again (Stripe API, idempotent requests). Raises ChannelError.
        """
        if order.may_be_made and _is_made(order, await self._made(order, ends_attempt=False)):
            return
        try:
            answered = await self._api.refund(
                order.charge_id, order.amount, row=order.event_id, idempotency_key=order.attempt_key
            )
        except RefusedByChannelError as error:
            # "Already refunded", or "more than is left": by us or by somebody at Stripe, the list of refunds knows.
            made = await self._made(order, ends_attempt=True)
            if not _is_made(order, made):
                raise RefusedByChannelError(error.code, str(error), made) from None
            return
        # An old attempt is answered as it was then (Stripe API, idempotent requests); the refund may have failed since.
        refund = await self._api.refund_now(answered.id)
        if refund.is_through:
            return
        words = f"Stripe says of the refund: {refund.status}"
        if refund.made.failure is None:
            # It may still be made, and one under another key could be a second one.
            raise ChannelAwayError(words)
        raise RefusedByChannelError(str(refund.status), words)

    async def _made(self, order: RefundOrder, *, ends_attempt: bool) -> list[MadeRefund]:
        """List what Stripe has of the charge; `ends_attempt`: Stripe has refused the attempt before it is asked."""
        try:
            return [each.made for each in await self._api.refunds(order.charge_id)]
        except PaymentError as error:
            error.ends_attempt = ends_attempt
            raise


def _is_made(order: RefundOrder, made: Sequence[MadeRefund]) -> bool:
    return any(each.row == order.event_id and each.is_through for each in made)
