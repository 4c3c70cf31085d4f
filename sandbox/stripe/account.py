"""The account at Stripe: payment methods, charges, refunds, disputes, and their events.

Amounts are in a currency's minor unit, currencies in lower case, times in seconds since 1970, as Stripe's API has them.
The account knows no HTTP (sandbox.stripe.api). Acts in the dashboard, or of a buyer's bank, are plain methods.
"""

from collections.abc import Callable
from copy import deepcopy
from datetime import datetime, timedelta
from hashlib import sha256
from random import Random
from typing import Any

from sandbox.settings import STRIPE_KEY
from sandbox.shapes import Json, without_none
from sandbox.stripe.errors import CARD, StripeRefusalError, missing

PAID_CARD = "4242424242424242"
DECLINED_CARD = "4000000000000002"
"""Stripe's well-known test numbers (Stripe documentation, testing)."""
EVENTS_KEPT = timedelta(days=30)
"""The time for which Stripe lists an event (Stripe API, list all events)."""
RETURNED = "failed"
"""The status of a refund whose money came back to the account."""

_PREFIXES = {"payment_method": "pm", "charge": "ch", "refund": "re", "dispute": "dp"}
_NOT_LOST = {"won", "warning_closed"}
"""The ends of a dispute that leave the money with the seller."""


class Account:
    """One account at Stripe, which the secret `key` opens.

    `clock` is its time, UTC. Each change calls `on_change`.
    """

    def __init__(self, clock: Callable[[], datetime], random: Random, key: str = STRIPE_KEY) -> None:
        self.clock = clock
        self.key = key
        self.objects: dict[str, Json] = {}
        self.events: list[Json] = []
        self.on_change: Callable[[], None] = lambda: None
        self._random = random

    def add_payment_method(self, number: str) -> str:
        """Add a card as a payment method; return its id."""
        card = {"brand": "visa", "last4": number[-4:], "fingerprint": _fingerprint(number)}
        return self._add("payment_method", type="card", card=card)

    def pay(self, payment_method_id: str, amount: int, currency: str) -> str:
        """Charge a card; return the charge's id.

        Raises StripeRefusalError when the bank declines the card; a failed charge stays all the same.
        """
        _check_positive(amount)
        card = self.find("payment_method", payment_method_id)["card"]
        details = {"type": "card", "card": {"brand": card["brand"], "last4": card["last4"]}}
        is_declined = card["fingerprint"] == _fingerprint(DECLINED_CARD)
        charge_id = self.charge(
            amount,
            currency,
            payment_method=payment_method_id,
            payment_method_details=details,
            status="failed" if is_declined else "succeeded",
        )
        if is_declined:
            raise StripeRefusalError(402, "Your card was declined.", "card_declined", CARD)
        return charge_id

    def charge(self, amount: int, currency: str, **odd: Any) -> str:
        """Make a charge; return its id.

        It belongs to a sale here or on the seller's own site. `odd` replaces facts of it.
        """
        facts = {"amount": amount, "currency": currency, "amount_refunded": 0, "status": "succeeded"}
        charge_id = self._add("charge", **(facts | {"refunded": False, "disputed": False} | odd))
        charge = self.objects[charge_id]
        charge["paid"] = charge["captured"] = charge["status"] == "succeeded"
        self.tell("charge.succeeded" if charge["paid"] else "charge.failed", charge)
        return charge_id

    def give_back(self, charge_id: str, amount: int | None = None, **odd: Any) -> str:
        """Refund the remainder of a charge, or a part of it; return the refund's id.

        `odd` replaces facts of the refund. Raises StripeRefusalError for a charge that has failed or has a dispute that
        is open or lost, for nothing, and for more than the remainder.
        """
        charge = self.find("charge", charge_id)
        if not charge["paid"]:
            raise StripeRefusalError(400, f"Charge {charge_id} was not paid.")
        if any(each["status"] not in _NOT_LOST for each in self.disputes(charge_id)):
            raise StripeRefusalError(400, f"Charge {charge_id} has been charged back.", "charge_disputed")
        left = charge["amount"] - self.refunded(charge_id)
        if left == 0:
            raise StripeRefusalError(400, f"Charge {charge_id} has already been refunded.", "charge_already_refunded")
        amount = left if amount is None else amount
        _check_positive(amount)
        if amount > left:
            raise StripeRefusalError(400, f"Refund amount ({amount}) is greater than unrefunded amount ({left})")
        facts = _of(charge) | {"amount": amount, "status": "succeeded"}
        refund_id = self._add("refund", **(facts | odd))
        self._sum_up(charge)
        self.tell("charge.refunded", charge)
        return refund_id

    def fail_refund(self, refund_id: str) -> None:
        """Make a refund a returned one: the buyer's bank sends it back to Stripe.

        Raises StripeRefusalError for a returned one.
        """
        refund = self.find("refund", refund_id)
        if refund["status"] == RETURNED:
            raise StripeRefusalError(400, f"Refund {refund_id} has come back already.")
        refund["status"], refund["failure_reason"] = RETURNED, "expired_or_canceled_card"
        self._sum_up(self.objects[refund["charge"]])
        self.tell("refund.failed", refund)

    def open_dispute(self, charge_id: str, amount: int | None = None) -> str:
        """Open a dispute, in which the buyer's bank demands the money; return its id.

        Raises StripeRefusalError for a charge that had a dispute before, or that failed.
        """
        charge = self.find("charge", charge_id)
        if charge["disputed"] or not charge["paid"]:
            raise StripeRefusalError(400, f"Charge {charge_id} cannot be disputed.")
        charge["disputed"] = True
        dispute_id = self._add(
            "dispute",
            **_of(charge),
            amount=amount or charge["amount"],
            status="needs_response",
            reason="fraudulent",
        )
        self.tell("charge.dispute.created", self.objects[dispute_id])
        return dispute_id

    def close_dispute(self, dispute_id: str, status: str) -> None:
        """Close a dispute: `lost`, `won`, `warning_closed`.

        Raises StripeRefusalError for a closed one.
        """
        dispute = self.find("dispute", dispute_id)
        if dispute["status"] in _NOT_LOST | {"lost"}:
            raise StripeRefusalError(400, f"Dispute {dispute_id} is {dispute['status']} already.")
        dispute["status"] = status
        self.tell("charge.dispute.closed", dispute)

    def tell(self, event_type: str, about: Json) -> None:
        """Write an event of the account, with its object's present content."""
        event = self._object("event", f"evt_{self._new_id()}", type=event_type, data={"object": deepcopy(about)})
        self.events.append(event)
        self.on_change()

    def find(self, kind: str, object_id: str) -> Json:
        """Find an object by its kind and id; raises StripeRefusalError."""
        found = self.objects.get(object_id)
        if found is None or found["object"] != kind:
            raise missing(kind, object_id)
        return found

    def listing(self, kind: str) -> list[Json]:
        """Return all objects of a kind, or the events of the last 30 days, newest first."""
        if kind != "event":
            return [each for each in reversed(self.objects.values()) if each["object"] == kind]
        since = int((self.clock() - EVENTS_KEPT).timestamp())
        return [each for each in reversed(self.events) if each["created"] >= since]

    def refunds(self, charge_id: str) -> list[Json]:
        """Return the refunds of a charge, oldest first."""
        return self._of_charge("refund", charge_id)

    def disputes(self, charge_id: str) -> list[Json]:
        """Return the disputes about a charge, oldest first."""
        return self._of_charge("dispute", charge_id)

    def refunded(self, charge_id: str) -> int:
        """Return the refunded amount of a charge, less returned refunds."""
        return sum(each["amount"] for each in self.refunds(charge_id) if each["status"] != RETURNED)

    def _of_charge(self, kind: str, charge_id: str) -> list[Json]:
        return [each for each in self.objects.values() if each["object"] == kind and each["charge"] == charge_id]

    def _sum_up(self, charge: Json) -> None:
        charge["amount_refunded"] = self.refunded(charge["id"])
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]

    def _add(self, kind: str, **facts: Any) -> str:
        made = self._object(kind, facts.get("id") or f"{_PREFIXES[kind]}_{self._new_id()}", **facts)
        self.objects[made["id"]] = made
        return str(made["id"])

    def _object(self, kind: str, object_id: str, **facts: Any) -> Json:
        head = {"id": object_id, "object": kind, "created": int(self.clock().timestamp()), "livemode": False}
        return head | {"metadata": {}} | without_none(**facts)

    def _new_id(self) -> str:
        return f"{self._random.getrandbits(96):024x}"


def _fingerprint(number: str) -> str:
    """Return a card's fingerprint, which tells cards apart.

    Sellers need it because Stripe does not show the numbers.
    """
    return sha256(number.encode()).hexdigest()[:16]


def _check_positive(amount: int) -> None:
    if amount < 1:
        raise StripeRefusalError(400, "Invalid positive integer: amount", "parameter_invalid_integer")


def _of(charge: Json) -> Json:
    """Return the fields of an object that name its charge."""
    return {"charge": charge["id"], "payment_intent": charge.get("payment_intent"), "currency": charge["currency"]}
