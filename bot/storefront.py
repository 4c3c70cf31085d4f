"""What is offered, and to whom: the step before an invoice."""

import enum

from loguru import logger

from db.clock import Clock
from db.engine import Database
from db.tables import User
from entitlements import EntitlementService
from payments.catalog import Catalog, Plan
from payments.telegram import TelegramPaymentHandler


class Refusal(enum.StrEnum):
    """Why somebody gets no invoice."""

    NOT_ON_SALE = "not_on_sale"
    HELD_FOR_LIFE = "held_for_life"


class Storefront:
    """The plans on sale, and their invoices for buyers known by their Telegram ids."""

    def __init__(self, handler: TelegramPaymentHandler, database: Database, catalog: Catalog, clock: Clock) -> None:
        self._handler = handler
        self._database = database
        self._clock = clock
        self._by_code = {plan.code: plan for plan in catalog.on_sale if not plan.subscription}
        left_out = [plan.code for plan in catalog.on_sale if plan.subscription]
        if left_out:
            logger.warning("subscriptions are not sold yet, /buy leaves them out: {}", ", ".join(left_out))

    @property
    def plans(self) -> tuple[Plan, ...]:
        """What /buy offers, in the order of the catalog."""
        return tuple(self._by_code.values())

    async def send_invoice(self, buyer_telegram_id: int, code: str) -> Refusal | None:
        """Send a plan's invoice to the buyer's private chat, unless there is a reason not to.

        Raises aiogram's TelegramAPIError, and SQLAlchemy's errors when the database is away.
        """
        plan = self._by_code.get(code)
        if plan is None:
            return Refusal.NOT_ON_SALE
        buyer = User.telegram_id == buyer_telegram_id
        async with self._database.reading() as session:
            held = await EntitlementService(session).held_for_life(buyer, self._clock())
        if held.issuperset(plan.entitlements):
            return Refusal.HELD_FOR_LIFE
        await self._handler.send_invoice(buyer_telegram_id, buyer_telegram_id, plan)
        sent = logger.bind(telegram_id=buyer_telegram_id, plan=plan.code, price_stars=plan.price_stars)
        sent.info("an invoice was sent")
        return None
