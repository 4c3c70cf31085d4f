"""Settles an audit row in the caller's transaction: the row, grants, entitlements and notices change together.

Any order and any repetition of a charge and its refund ends in the same state.
"""

from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.states import ORIGIN, EventStatus
from db.tables import StripeEvent
from payments.audit import events, fact_rows, transitions
from payments.audit.balance import is_at_provider, is_returned_refund
from payments.effects import Effects
from payments.sale.catalog import Catalog
from payments.sale.payload import PayloadSigner
from payments.settlement.charge_settlement import ChargeRules, ChargeSettlement
from payments.settlement.parking import Parking
from payments.settlement.refund_settlement import RefundSettlement
from payments.settlement.subscription_link import SubscriptionLink
from payments.subscriptions.book import SubscriptionBook
from payments.subscriptions.chain import Terms


class Settlement:
    """Settles audit rows of every kind, and leaves notices, refunds and renewals to the `effects`."""

    def __init__(
        self,
        catalog: Catalog,
        signer: PayloadSigner,
        clock: Clock,
        effects: Effects,
        terms: Terms,
        telegram_now: Clock | None = None,
    ) -> None:
        """Wire the settlement of charges and of refunds.

        `telegram_now` is Telegram's present as far as the desk knows it; lateness counts by it (None: by `clock`).
        """
        self.telegram_now = telegram_now or clock
        self.subscriptions = SubscriptionBook(catalog, clock, effects, terms)
        self.parking = Parking(effects, self.telegram_now)
        link = SubscriptionLink(signer, self.subscriptions, effects)
        self._refunds = RefundSettlement(clock, effects, self.parking, link)
        rules = ChargeRules(catalog, signer, clock, self.telegram_now)
        self._charges = ChargeSettlement(rules, effects, self.parking, self._refunds, link, self.subscriptions)

    async def settle(self, session: AsyncSession, event_id: str, *, confirmed: bool = False) -> StripeEvent | None:
        """Settle an audit row if it is open, and return it; None: no row of ours has this id.

        1. Lock the payers of the row and of the refunds that stand in for it, then each row.
        2. Settle each open row of ours by its kind (`settle_open`).

        `confirmed`: the provider has just made the refund. The provider's own report of a refund (`webhook_timestamp`
        has a value) confirms it as well. An unconfirmed refund stays open, because the worker has yet to send it. Where
        another row has the key of a refund, this returns the refund apart (fact_rows.record).
        """
        event = None
        ids = [event_id, *await fact_rows.find_refunds_apart(session, event_id)]
        users = await events.lock_users_of(session, ids)
        for each in ids if users else ():
            locked = await events.lock_row(session, each)
            if locked is None or locked.origin != ORIGIN:
                continue
            event = locked
            if transitions.is_open(event):
                await self.settle_open(session, event, confirmed=confirmed)
        return event

    async def settle_open(self, session: AsyncSession, event: StripeEvent, *, confirmed: bool = False) -> None:
        """Settle an open row of ours that the caller has locked (events.lock), as `settle` does."""
        if event.status == EventStatus.PROCESSED:
            await self._charges.settle_news(session, event)
        elif event.refund_of is None:
            await self._charges.settle(session, event)
        elif is_returned_refund(event):
            await self._refunds.settle_returned(session, event)
        elif confirmed or is_at_provider(event):
            await self._refunds.settle(session, event)
        await session.flush()
