"""What is offered, and to whom: the step before an invoice."""

import enum

from loguru import logger

from db.clock import Clock
from db.engine import Database
from entitlements import EntitlementService
from payments.catalog import Catalog, Plan
from payments.history import find_user
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
        if await self._holds_for_life(buyer_telegram_id, plan):
            return Refusal.HELD_FOR_LIFE
        await self._handler.send_invoice(buyer_telegram_id, buyer_telegram_id, plan)
        sent = logger.bind(telegram_id=buyer_telegram_id, plan=plan.code, price_stars=plan.price_stars)
        sent.info("an invoice was sent")
        return None

    async def _holds_for_life(self, telegram_id: int, plan: Plan) -> bool:
        async with self._database.reading() as session:
            user = await find_user(session, telegram_id)
            if user is None:
                return False
            holdings = await EntitlementService(session).holdings(user.id, self._clock())
        held_for_life = {holding.entitlement_type for holding in holdings if holding.expires_at is None}
        return held_for_life.issuperset(plan.entitlements)
