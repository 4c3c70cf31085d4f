"""Card payments: Stripe charges the card whose number a person puts into the sheet, or declines it.

The sandbox's own account makes the charge, or another Stripe (localstripe, or any server that speaks its API).
A refund made there is Stripe's affair: Telegram tells a bot of none (Bot API, RefundedPayment: "currently, always
XTR"). No Star moves, and getStarTransactions knows nothing of it.
"""

import asyncio
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

import aiohttp

from sandbox.clock import VirtualClock
from sandbox.errors import ControlError
from sandbox.feed import Feed
from sandbox.invoices import Invoice
from sandbox.messages import Messages
from sandbox.people import People, Person
from sandbox.settings import Settings
from sandbox.stripe.account import DECLINED_CARD, PAID_CARD, Account
from sandbox.stripe.errors import StripeRefusalError

CALL_SECONDS = 10.0
_CARD = re.compile(r"[0-9]{16}")


@dataclass(frozen=True, slots=True)
class CardCharge:
    """A payment by card that went through: `amount` in the currency's minor unit, `provider_id` the provider's.

    `last4`: the last four digits of the card.
    """

    id: str
    provider_id: str
    user_id: int
    amount: int
    currency: str
    payload: str
    charged_at: datetime
    last4: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason why Stripe did not charge a card, in words for its holder."""

    words: str


OnEnd = Callable[[CardCharge | Refusal], None]


class Cards:
    """The provider behind the bot's provider token, and all charges by card."""

    def __init__(
        self,
        clock: VirtualClock,
        people: People,
        messages: Messages,
        feed: Feed,
        settings: Settings,
        account: Account,
        random: Random,
    ) -> None:
        self.charges: list[CardCharge] = []
        self._clock = clock
        self._people = people
        self._messages = messages
        self._feed = feed
        self._settings = settings
        self._account = account
        self._random = random
        self._under_way: set[asyncio.Task[None]] = set()

    def listing(self, *, user_id: int | None = None) -> list[CardCharge]:
        """Return all charges by card in order, or those of a person."""
        return [found for found in self.charges if user_id in (None, found.user_id)]

    def charge(self, person: Person, invoice: Invoice, number: str, on_end: OnEnd) -> None:
        """Charge a card, and call `on_end` with the result, at once or after Stripe's answer."""
        if self._settings.stripe_url is None:
            on_end(self._charge_here(person, invoice, number))
        else:
            task = asyncio.create_task(self._charge_at(self._settings.stripe_url, person, invoice, number, on_end))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Abandon the card charges that are under way at Stripe."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _charge_here(self, person: Person, invoice: Invoice, number: str) -> CardCharge | Refusal:
        method_id = self._account.add_payment_method(number)
        try:
            charge_id = self._account.pay(method_id, invoice.total_amount, invoice.currency.lower())
        except StripeRefusalError as refusal:
            return Refusal(refusal.words)
        return self._take(person, invoice, number, charge_id)

    async def _charge_at(self, url: str, person: Person, invoice: Invoice, number: str, on_end: OnEnd) -> None:
        if number == DECLINED_CARD:
            # localstripe would charge it.
            on_end(Refusal("Your card was declined."))
            return
        card = {"number": number, "exp_month": 12, "exp_year": self._clock.now().year + 2, "cvc": "123"}
        headers = {"Authorization": f"Bearer {self._settings.stripe_key}"}
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        try:
            async with aiohttp.ClientSession(url, headers=headers, timeout=timeout) as stripe:
                fields = {f"card[{name}]": str(value) for name, value in card.items()}
                method = await _post(stripe, "/v1/payment_methods", {"type": "card", **fields})
                amount = {"amount": str(invoice.total_amount), "currency": invoice.currency.lower()}
                charge = await _post(stripe, "/v1/charges", {**amount, "source": method["id"]})
        except _RefusedError as refusal:
            on_end(Refusal(str(refusal)))
        except (aiohttp.ClientError, TimeoutError):
            on_end(Refusal("The payment provider did not answer."))
        else:
            on_end(self._take(person, invoice, number, charge["id"]))

    def _take(self, person: Person, invoice: Invoice, number: str, provider_id: str) -> CardCharge:
        charge = CardCharge(
            id=f"{self._random.getrandbits(64)}_{urlsafe_b64encode(self._random.randbytes(12)).decode()}",
            provider_id=provider_id,
            user_id=person.id,
            amount=invoice.total_amount,
            currency=invoice.currency,
            payload=invoice.payload,
            charged_at=self._clock.now(),
            last4=number[-4:],
        )
        self.charges.append(charge)
        paid = {
            "currency": charge.currency,
            "total_amount": charge.amount,
            "invoice_payload": charge.payload,
            "telegram_payment_charge_id": charge.id,
            "provider_payment_charge_id": charge.provider_id,
        }
        self._messages.post_by_person(person, person, {"successful_payment": paid})
        self._feed.publish("charge", charge_id=charge.id, user_id=person.id)
        return charge


class _RefusedError(Exception):
    """The error with Stripe's own words for a refused card."""


async def _post(stripe: aiohttp.ClientSession, path: str, form: Mapping[str, str]) -> dict[str, Any]:
    async with stripe.post(path, data=form) as response:
        said: dict[str, Any] = await response.json(content_type=None)
    if "error" in said:
        raise _RefusedError(said["error"].get("message", "The payment provider refuses the card."))
    return said


def read_card(number: str | None) -> str:
    """Return a card's number without spaces, by default one that Stripe charges; raises ControlError."""
    bare = (number or PAID_CARD).replace(" ", "")
    if not _CARD.fullmatch(bare):
        raise ControlError("a card has a number of 16 digits")
    return bare
