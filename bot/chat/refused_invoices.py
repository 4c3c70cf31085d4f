"""Invoices that Telegram refuses: a price outside of its currency's limits, a provider that is gone.

Only a buyer sees such a refusal, and buyers do not complain, so the desk tells the admins once a day for each plan and
currency, in Telegram's words.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from loguru import logger

from db.clock import Clock
from db.engine import Database
from db.errors import is_away
from db.limits import ERROR_LENGTH_MAX
from payments.notices import Admins, Notice
from payments.sale.catalog import Plan

KNOWN_FOR: Final = timedelta(minutes=10)
"""The time for which buyers do not see a way to pay after Telegram has refused its invoice."""


class RefusedInvoices:
    """Tells the admins of refused invoices, and remembers which prices of the catalog Telegram refuses now."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        admins: Admins,
        on_owed: Callable[[], None],
    ) -> None:
        """Start with no refused invoice; `note` calls `on_owed` when a notice is due."""
        self._database = database
        self._clock = clock
        self._admins = admins
        self._on_owed = on_owed
        self._refused_at: dict[tuple[str, str], datetime] = {}

    def is_known(self, plan: Plan, currency: str) -> bool:
        """Tell whether Telegram has just refused the plan's invoice in this currency."""
        refused_at = self._refused_at.get((plan.code, currency))
        return refused_at is not None and abs(self._clock() - refused_at) < KNOWN_FOR

    async def note(self, plan: Plan, currency: str, amount: int, why: str) -> None:
        """Owe the admins a notice about a refused invoice, with Telegram's words in `why`.

        `amount` is in the currency's minor unit (Stars: Stars). It succeeds without a notice when the database is away,
        because the buyer must not notice that.
        """
        now = self._clock()
        self._refused_at[plan.code, currency] = now
        logger.bind(plan=plan.code, currency=currency, price=amount).error("Telegram refuses an invoice: {}", why)
        facts = {"title": plan.title, "plan": plan.code, "amount": amount, "currency": currency}
        facts["why"] = why[:ERROR_LENGTH_MAX]
        try:
            async with self._database.transaction() as session:
                key = f"invoice:{plan.code}:{currency}:{now:%Y-%m-%d}"
                await self._admins.tell(session, Notice.INVOICE_REFUSED, key, facts, now)
        except Exception as error:
            if not is_away(error):
                raise
            logger.error("the desk cannot tell the admins of a refused invoice yet: {}", type(error).__name__)
        else:
            self._on_owed()
