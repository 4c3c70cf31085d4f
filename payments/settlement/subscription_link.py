"""Links a charge to its subscription: brings the subscription up to date, and ends its renewal after a refund."""

from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import StripeEvent, Subscription, User
from payments.effects import Effects
from payments.renewals import RenewalReason
from payments.sale.payload import Order, PayloadSigner
from payments.subscriptions.book import SubscriptionBook


class SubscriptionLink:
    """Finds the subscription of a charge, in the caller's transaction. The caller holds the user's lock."""

    def __init__(self, signer: PayloadSigner, book: SubscriptionBook, effects: Effects) -> None:
        self._signer = signer
        self._book = book
        self._effects = effects

    def order(self, charge: StripeEvent) -> Order | None:
        """Return the order of a subscription in a charge's payload, proved or not; None: the payload holds none."""
        reading = self._signer.read(charge.payload or "")
        order = reading.order or reading.claimed
        return order if order is not None and order.subscription else None

    async def update(self, session: AsyncSession, charge: StripeEvent, user: User) -> Subscription | None:
        """Bring the subscription of a charge up to date, and return it; None: no known subscription has the charge."""
        order = self.order(charge)
        if charge.payload is None or (order is None and not charge.is_recurring):
            return None
        followed = await self._book.update_from_charges(session, user, charge.payload, order)
        return followed.get(charge.event_id)

    async def end_refunded(
        self, session: AsyncSession, charge: StripeEvent, user: User, subscription: Subscription | None
    ) -> None:
        """End the renewal of a refunded charge's subscription, even if the desk cannot read the charge's payload."""
        is_unread = subscription is None and charge.is_recurring and not self._effects.settles_past
        if is_unread and charge.payload is not None:
            price_stars = charge.amount_cents
            followed = await self._book.update_from_charges(
                session, user, charge.payload, unread_price_stars=price_stars
            )
            subscription = followed.get(charge.event_id)
        if subscription is not None:
            self._effects.end_renewal(subscription, RenewalReason.REFUND)
