"""Invoices that Telegram refuses: a price outside of its currency's limits, a provider that is gone.

Nobody but a buyer sees such a refusal, and buyers do not complain: the admins are told once a day for each plan and
currency, in Telegram's words.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from loguru import logger

from db.clock import Clock
from db.engine import Database
from db.errors import is_away
from payments.audit.transitions import ERROR_LENGTH_MAX
from payments.notices import Admins, Notice
from payments.sale.catalog import Plan

KNOWN_FOR: Final = timedelta(minutes=10)
"""So long a way to pay is not named to buyers after Telegram has refused it."""


class RefusedInvoices:
    """Tells the admins, and remembers which ways to pay do not work now: at most one for each price of the catalog."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        admins: Admins,
        on_owed: Callable[[], None],
    ) -> None:
        """Prepare; `on_owed` is called when a notice has become due."""
        self._database = database
        self._clock = clock
        self._admins = admins
        self._on_owed = on_owed
        self._refused_at: dict[tuple[str, str], datetime] = {}

    def is_known(self, plan: Plan, currency: str) -> bool:
        """Tell whether Telegram has refused the plan's invoice in this currency a moment ago."""
        refused_at = self._refused_at.get((plan.code, currency))
        return refused_at is not None and abs(self._clock() - refused_at) < KNOWN_FOR

    async def note(self, plan: Plan, currency: str, amount: int, why: str) -> None:
        """Owe the admins word of an invoice that was refused, `why` in Telegram's words.

        `amount` is in the currency's minor unit (Stars: Stars). A database that is away keeps the buyer from nothing.
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
            logger.error("the admins cannot be told of a refused invoice yet: {}", type(error).__name__)
        else:
            self._on_owed()
