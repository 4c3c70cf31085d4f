"""Stripe's dashboard for the seller, and the acts of a buyer's bank: for the page and for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from sandbox.cards import Cards
from sandbox.errors import ControlError
from sandbox.shapes import Json
from sandbox.stripe.account import Account
from sandbox.stripe.errors import StripeRefusalError


@dataclass(frozen=True, slots=True)
class StripeCharge:
    """A charge in Stripe's dashboard with its refunds and disputes, oldest first, each as Stripe's API has it.

    `user_id`: the person who paid it in the sandbox; None for a declined card, and for a sale elsewhere.
    """

    charge: Json
    refunds: list[Json]
    disputes: list[Json]
    user_id: int | None


class Dashboard:
    """The charges in Stripe's dashboard, and the buttons beside them; each raises ControlError when Stripe refuses."""

    def __init__(self, account: Account, cards: Cards) -> None:
        self._account = account
        self._cards = cards

    def charges(self, *, limit: int = 100) -> list[StripeCharge]:
        """Return the newest charges, oldest first."""
        payers = {paid.provider_id: paid.user_id for paid in self._cards.charges}
        newest = self._account.listing("charge")[:limit]
        return [self._shown(charge, payers.get(charge["id"])) for charge in reversed(newest)]

    def give_back(self, *, charge_id: str, amount: int | None = None) -> Json:
        """Refund the remainder of a charge, or `amount` in its minor unit; return the refund."""
        with _refusals_told():
            return self._account.objects[self._account.give_back(charge_id, amount)]

    def fail_refund(self, *, refund_id: str) -> Json:
        """Have the buyer's bank send a refund back to Stripe; return the refund."""
        with _refusals_told():
            self._account.fail_refund(refund_id)
            return self._account.objects[refund_id]

    def open_dispute(self, *, charge_id: str) -> Json:
        """Have the buyer's bank demand a whole charge from Stripe; return the dispute."""
        with _refusals_told():
            return self._account.objects[self._account.open_dispute(charge_id)]

    def close_dispute(self, *, dispute_id: str, status: Literal["won", "lost"]) -> Json:
        """Have the bank decide a dispute at Stripe for the seller or for the buyer; return the dispute."""
        with _refusals_told():
            self._account.close_dispute(dispute_id, status)
            return self._account.objects[dispute_id]

    def _shown(self, charge: Json, user_id: int | None) -> StripeCharge:
        charge_id = charge["id"]
        return StripeCharge(charge, self._account.refunds(charge_id), self._account.disputes(charge_id), user_id)


@contextmanager
def _refusals_told() -> Iterator[None]:
    try:
        yield
    except StripeRefusalError as refusal:
        raise ControlError(refusal.words) from refusal
