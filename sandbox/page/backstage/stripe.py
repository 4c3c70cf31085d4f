"""The page's card of the account at Stripe: charges, and the seller's and banks' buttons for each; newest on top."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from nicegui import ui

from sandbox.client import SandboxClient
from sandbox.page.backstage.cards import ROWS_SHOWN, card, list_of_newest, refusals_told
from sandbox.page.elements import (
    box,
    button,
    clock_time,
    copies_on_click,
    day,
    line,
    major_units,
    minor_units,
    moment,
    money,
)
from sandbox.page.keyed_rows import KeyedRows
from sandbox.shapes import Json
from sandbox.stripe.account import RETURNED
from sandbox.stripe.dashboard import StripeCharge

_COLOURS = {
    "paid": "good",
    "succeeded": "good",
    "won": "good",
    "pending": "waiting",
    "needs response": "waiting",
    "disputed": "waiting",
    "declined": "failed",
    "failed": "failed",
    "lost": "failed",
    "dispute lost": "failed",
}


@dataclass(frozen=True, slots=True)
class _Row:
    shown: StripeCharge
    payer: str


class StripeCard:
    """The card of the newest charges at Stripe."""

    def __init__(self, client: SandboxClient) -> None:
        self._client = client
        self._part = _PartDialog(client)
        with card("The account at Stripe"):
            self._elsewhere = line("", "muted")
            self._nothing = line("No card was charged yet.", "muted")
            self._hint = line("The bot hears of what is done here when it next asks for Stripe's events.", "muted")
            self._rows = KeyedRows[str, _Row](list_of_newest(), self._build)

    async def refresh(self) -> None:
        """Refresh Stripe's card, if the sandbox has the account."""
        url = (await self._client.about()).stripe_url
        self._elsewhere.set_text(f"Cards are charged at {url}.")
        self._elsewhere.set_visibility(url is not None)
        names = {person.id: person.first_name for person in await self._client.persons()}
        charges = await self._client.stripe_charges(ROWS_SHOWN)
        self._nothing.set_visibility(not charges and url is None)
        self._hint.set_visibility(bool(charges))
        self._rows.show({each.charge["id"]: _Row(each, _payer(each, names)) for each in charges})

    async def update(self, events: list[Json]) -> None:
        """Update Stripe's card when the account has changed."""
        if any(event["topic"] == "stripe" for event in events):
            await self.refresh()

    def _build(self, row: _Row) -> None:
        charge, shown = row.shown.charge, row.shown
        at = moment(charge["created"])
        with box("charge"):
            with box("entry-head"):
                line(row.payer, "grow")
                line(money(charge["amount"], _currency(charge)), "" if charge["paid"] else "muted")
            with box("entry-head muted"):
                _show_state(_state(shown))
                line(f"{day(at)}, {clock_time(at)}", "grow")
            copies_on_click(line(charge["id"], "run is-code"), lambda: ui.notify("Copied to clipboard"))
            for refund in shown.refunds:
                self._show_refund(refund)
            for dispute in shown.disputes:
                self._show_dispute(dispute)
            self._show_actions(shown)

    def _show_refund(self, refund: Json) -> None:
        with box("entry-head muted"):
            line(f"Given back {money(refund['amount'], _currency(refund))}", "grow")
            _show_state(refund["status"])
        if refund["status"] != RETURNED:
            with box("buttons"):
                self._add("The bank sends it back", lambda: self._client.stripe_fail_refund(refund["id"]))

    def _show_dispute(self, dispute: Json) -> None:
        dispute_id, client = dispute["id"], self._client
        with box("entry-head muted"):
            line(f"Disputed {money(dispute['amount'], _currency(dispute))}", "grow")
            _show_state(dispute["status"].replace("_", " "))
        if dispute["status"] == "needs_response":
            with box("buttons"):
                self._add("Close it: won", lambda: client.stripe_close_dispute(dispute_id, "won"))
                self._add("Close it: lost", lambda: client.stripe_close_dispute(dispute_id, "lost"))

    def _show_actions(self, shown: StripeCharge) -> None:
        charge, client = shown.charge, self._client
        if not charge["paid"]:
            return
        with box("buttons"):
            if not charge["refunded"] and _state(shown) not in {"disputed", "dispute lost"}:
                told = "Give the rest back" if charge["amount_refunded"] else "Give it all back"
                self._add(told, lambda: client.stripe_give_back(charge["id"]))
                button("Give a part back", lambda: self._part.ask(charge), "button soft")
            if not charge["disputed"]:
                self._add("Dispute it", lambda: client.stripe_open_dispute(charge["id"]))

    @staticmethod
    def _add(told: str, action: Callable[[], Awaitable[object]]) -> None:
        button(told, refusals_told(action), "button soft")


class _PartDialog:
    """The dialog that asks for the amount of a partial refund."""

    def __init__(self, client: SandboxClient) -> None:
        self._client = client
        self._charge: Json = {}
        with ui.dialog() as self._dialog, box("card part-dialog"):
            line("Give a part back", "card-title")
            self._amount = ui.number("Amount", min=0).props("outlined dense autofocus")
            with box("buttons"):
                button("Give it back", refusals_told(self._give_back))
                button("Cancel", self._dialog.close, "button soft")

    def ask(self, charge: Json) -> None:
        """Open the dialog of a partial refund for a charge, with half of the remainder in the field."""
        self._charge = charge
        left = charge["amount"] - charge["amount_refunded"]
        currency = _currency(charge)
        self._amount.props["label"] = f"Amount, of {money(left, currency)}"
        self._amount.set_value(float(major_units(left // 2, currency)))
        self._dialog.open()

    async def _give_back(self) -> None:
        self._dialog.close()
        amount = minor_units(self._amount.value or 0, _currency(self._charge))
        await self._client.stripe_give_back(self._charge["id"], amount)


def _state(shown: StripeCharge) -> str:
    """Write the state of a charge at Stripe in a word or two."""
    charge = shown.charge
    if not charge["paid"]:
        return "declined"
    disputed = {each["status"] for each in shown.disputes}
    if "lost" in disputed:
        return "dispute lost"
    if "needs_response" in disputed:
        return "disputed"
    if charge["refunded"]:
        return "given back"
    return "partly given back" if charge["amount_refunded"] else "paid"


def _show_state(state: str) -> None:
    line(state, f"badge state-{_COLOURS.get(state, 'over')}")


def _payer(shown: StripeCharge, names: dict[int, str]) -> str:
    if shown.user_id is not None:
        return names[shown.user_id]
    return "Sold elsewhere" if shown.charge["paid"] else "A declined card"


def _currency(found: Json) -> str:
    """Return the currency of a charge, refund or dispute at Stripe in Telegram's capitals."""
    return str(found["currency"]).upper()
