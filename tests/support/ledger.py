"""Rows of Telegram's ledger, and their readers in the tests."""

from typing import Any

from db.tables import LedgerReading
from payments.audit.facts import ChargeFact, MoneyFact
from payments.ledger import progress
from payments.ledger.fetching import TelegramLedger
from payments.ledger.rebuild import BATCH_EVENTS, PassReport, WholePass
from payments.ledger.reconciliation import Comparison, Reconciliation
from payments.sale.payload import PayloadSigner
from payments.subscriptions.chain import Terms
from tests.support.desk import Desk
from tests.support.money import ADMINS, CATALOG, SIGNER, order

Row = dict[str, Any]
SUBSCRIPTION_PERIOD = 2_592_000


def row(fact: MoneyFact, **more: Any) -> Row:
    """Return the row of a payment or refund as it should be; `more` is said of its partner."""
    partner: Row = {
        "type": "user",
        "transaction_type": "invoice_payment",
        "user": {"id": fact.person.telegram_id, "is_bot": False, "first_name": "A", "username": fact.person.username},
    }
    direction = "receiver"
    if isinstance(fact, ChargeFact):
        direction = "source"
        partner["invoice_payload"] = fact.payload
        if fact.is_recurring:
            partner["subscription_period"] = SUBSCRIPTION_PERIOD
    else:
        partner["invoice_payload"] = SIGNER.sign(order("month", fact.person))
    date = int(fact.happened_at.timestamp())
    return {"id": fact.charge_id, "amount": fact.amount, "date": date, direction: partner | more}


def other_row(number: int = 1, *, kind: str = "telegram_ads", amount: int = 5, date: int = 1_700_000_000) -> Row:
    """Return a row that is no business of ours: Stars that went to a partner of some kind."""
    return {"id": f"other-{number}", "amount": amount, "date": date, "receiver": {"type": kind}}


class Books:
    """A desk with the ledger beside it."""

    def __init__(self, desk: Desk, ledger: TelegramLedger) -> None:
        self.desk = desk
        self.ledger = ledger
        self.woken = 0
        self.reconciliation = Reconciliation(desk.database, ledger, SIGNER, desk.clock, ADMINS, on_recovered=self._wake)

    def _wake(self) -> None:
        self.woken += 1

    async def compare(
        self, *, from_start: bool = False, is_dry: bool = False, pages_max: int | None = None
    ) -> Comparison:
        return await self.reconciliation.run(pages_max, from_start=from_start, is_dry=is_dry)

    async def rebuild(self, signer: PayloadSigner = SIGNER, *, trusts_unsigned: bool = False) -> PassReport:
        """Mark the database, and pass over the whole ledger."""
        await self.mark(trusts_unsigned=trusts_unsigned)
        return await self.whole_pass(signer).run()

    async def mark(self, *, trusts_unsigned: bool = False) -> None:
        async with self.desk.database.transaction() as session:
            await progress.mark_unfinished(session, self.desk.clock(), trusts_unsigned=trusts_unsigned)

    def whole_pass(self, signer: PayloadSigner = SIGNER, batch_events: int = BATCH_EVENTS) -> WholePass:
        return WholePass(self.desk.database, self.ledger, CATALOG, signer, self.desk.clock, Terms(), batch_events)

    async def stand(self) -> LedgerReading:
        async with self.desk.database.reading() as session:
            stand = await progress.find(session)
        assert stand is not None
        return stand
