"""The page's card of the bot's Star ledger with its balance, as getStarTransactions returns it, newest on top."""

from sandbox.client import SandboxClient
from sandbox.page.backstage.cards import ROWS_SHOWN, as_json, card, entry, list_of_newest, object_in, refusals_told
from sandbox.page.elements import box, button, clock_time, day, line, moment, stars
from sandbox.page.keyed_rows import KeyedRows
from sandbox.shapes import Json


class LedgerCard:
    """The card of the last hundred ledger rows."""

    def __init__(self, client: SandboxClient) -> None:
        self._client = client
        with card("The bot's Stars") as head:
            with head:
                self._balance = box("")
            self._rows = KeyedRows[int, Json](list_of_newest(), self._build)

    async def refresh(self) -> None:
        """Refresh the ledger's card: the balance and the newest rows."""
        length = await self._client.ledger_length()
        first = max(length - ROWS_SHOWN, 0)
        rows = await self._client.ledger(first, ROWS_SHOWN)
        balance = await self._client.balance()
        self._balance.clear()
        with self._balance:
            stars(balance["amount"], "balance-pill")
        self._rows.show(dict(enumerate(rows, start=first)))

    async def update(self, events: list[Json]) -> None:
        """Update the ledger's card after a new row."""
        if any(event["topic"] == "ledger" for event in events):
            await self.refresh()

    def _build(self, row: Json) -> None:
        is_income = "source" in row
        partner = object_in(row, "source") or object_in(row, "receiver")

        async def refund() -> None:
            await self._client.refund_elsewhere(row["id"])

        with entry() as summary:
            with summary:
                line(_date(row), "muted when")
                line(str(object_in(partner, "user").get("first_name") or partner.get("type", "")), "grow")
                line(f"{'+' if is_income else '-'}{row.get('amount')}", "income" if is_income else "expense")
            as_json(row)
            if is_income and partner.get("transaction_type") == "invoice_payment":
                button("Refund it, as Telegram's support would", refusals_told(refund), "button soft")


def _date(row: Json) -> str:
    if not isinstance(row.get("date"), int):
        return "no date"
    at = moment(row["date"])
    return f"{day(at)}, {clock_time(at)}"
