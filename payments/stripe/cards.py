"""The channel of cards: makes a card refund at Stripe, once for each refund row."""

from collections.abc import Sequence

from payments.channel import MadeRefund, RefundOrder
from payments.errors import ChannelAwayError, PaymentError, RefusedByChannelError
from payments.methods import CARDS, Method
from payments.stripe.api import StripeApi


class CardChannel:
    """Makes card refunds over Stripe's API."""

    method: Method = CARDS

    def __init__(self, api: StripeApi) -> None:
        self._api = api

    async def refund(self, order: RefundOrder) -> None:
        """Make the card refund of an order at Stripe, which never gives back more than was paid.

        An attempt whose answer was lost is found in the charge's list of refunds by the row that it names, because
        Stripe forgets an idempotency key after a day and would make the refund again (Stripe API, idempotent requests).
        Raises ChannelError.
        """
        if order.may_be_made and _is_order_made(order, await self._list_made_refunds(order, ends_attempt=False)):
            return
        try:
            answered = await self._api.refund(
                order.charge_id, order.amount, row=order.event_id, idempotency_key=order.attempt_key
            )
        except RefusedByChannelError as error:
            # "Already refunded" or "more than is left": the list of refunds tells whether we made it, or somebody at
            # Stripe.
            made = await self._list_made_refunds(order, ends_attempt=True)
            if not _is_order_made(order, made):
                raise RefusedByChannelError(error.code, str(error), made) from None
            return
        # Stripe answers an old attempt as it did then (Stripe API, idempotent requests); the refund may have failed
        # since.
        refund = await self._api.fetch_refund(answered.id)
        if refund.is_through:
            return
        words = f"Stripe says of the refund: {refund.status}"
        if refund.made.failure is None:
            # The refund may still be made, and one under another key could be a second refund.
            raise ChannelAwayError(words)
        raise RefusedByChannelError(str(refund.status), words)

    async def _list_made_refunds(self, order: RefundOrder, *, ends_attempt: bool) -> list[MadeRefund]:
        """List a card charge's refunds at Stripe; `ends_attempt`: Stripe has refused the attempt before."""
        try:
            return [each.made for each in await self._api.list_refunds(order.charge_id)]
        except PaymentError as error:
            error.ends_attempt = ends_attempt
            raise


def _is_order_made(order: RefundOrder, made: Sequence[MadeRefund]) -> bool:
    """Tell whether one of these card refunds is the order's."""
    return any(each.row == order.event_id and each.is_through for each in made)
