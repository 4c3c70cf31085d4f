"""The channel of cards: has Stripe make a card refund, once for each refund row."""

from collections.abc import Sequence

from payments.channel import MadeRefund, RefundOrder
from payments.errors import ChannelAwayError, PaymentError, RefusedByChannelError
from payments.methods import CARDS, Method
from payments.stripe.api import StripeApi


class CardChannel:
    """The channel over which the worker refunds card charges at Stripe."""

    method: Method = CARDS

    def __init__(self, api: StripeApi) -> None:
        self._api = api

    async def refund(self, order: RefundOrder) -> None:
        """Have Stripe make the card refund of an order; Stripe never refunds more than the buyer paid.

        If the answer to an earlier attempt was lost, this looks for its refund in Stripe's list, by the audit row that
        the refund names. The list decides because Stripe forgets an idempotency key after a day and would make the
        refund again (Stripe API, idempotent requests). Raises ChannelError.
        """
        if order.may_be_made and _is_order_made(order, await self._list_made_refunds(order, ends_attempt=False)):
            return
        try:
            answered = await self._api.refund(
                order.charge_id, order.amount, row=order.event_id, idempotency_key=order.attempt_key
            )
        except RefusedByChannelError as error:
            # "Already refunded" or "more than is left": the list of refunds tells whether the desk made it, or somebody
            # in Stripe's dashboard.
            made = await self._list_made_refunds(order, ends_attempt=True)
            if not _is_order_made(order, made):
                raise RefusedByChannelError(error.code, str(error), made) from None
            return
        # Stripe repeats its first answer to an old attempt (Stripe API, idempotent requests), and the refund may have
        # failed since.
        refund = await self._api.fetch_refund(answered.id)
        if refund.is_through:
            return
        words = f"Stripe says of the refund: {refund.status}"
        if refund.made.failure is None:
            # Stripe may still make the refund, and an attempt under another key could make a second one.
            raise ChannelAwayError(words)
        raise RefusedByChannelError(str(refund.status), words)

    async def _list_made_refunds(self, order: RefundOrder, *, ends_attempt: bool) -> list[MadeRefund]:
        """List a card charge's refunds at Stripe; a failure ends the attempt if `ends_attempt`, after a refusal."""
        try:
            return [each.made for each in await self._api.list_refunds(order.charge_id)]
        except PaymentError as error:
            error.ends_attempt = ends_attempt
            raise


def _is_order_made(order: RefundOrder, made: Sequence[MadeRefund]) -> bool:
    """Tell whether Stripe has made the order's refund, by the audit row that each card refund names."""
    return any(each.row == order.event_id and each.is_through for each in made)
