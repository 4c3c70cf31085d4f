"""Past payments, which go straight into the ledger: a history for a rebuild."""

from dataclasses import dataclass
from datetime import datetime

from sandbox.charges import Charge, Charges, charge_row, period_after
from sandbox.invoices import STARS, SUBSCRIPTION_PERIOD_SECONDS, Invoice
from sandbox.ledger import Ledger, payment_partner
from sandbox.people import People
from sandbox.shapes import Json
from sandbox.subscriptions import Subscriptions


@dataclass(frozen=True, slots=True)
class Affiliate:
    """The affiliate of a past payment, and the commission in `stars`, negative in a refund."""

    user_id: int
    commission_per_mille: int
    stars: int


@dataclass(frozen=True, slots=True)
class PastPayment:
    """A past payment: ledger row and charge, without an update, a message, or a change of a balance.

    `subscription`: it opened one, which runs on if its 30 days are not over. `subscription_id`: it renewed that one.
    `as_paid_media`: the row has the odd form of `payment_partner`.
    """

    user_id: int
    payload: str
    stars: int
    at: datetime
    subscription: bool = False
    subscription_id: str | None = None
    refunded_at: datetime | None = None
    as_paid_media: bool = False
    affiliate: Affiliate | None = None


class History:
    """Writes past payments."""

    def __init__(self, people: People, charges: Charges, ledger: Ledger, subscriptions: Subscriptions) -> None:
        self._people = people
        self._charges = charges
        self._ledger = ledger
        self._subscriptions = subscriptions

    def add_past_payments(self, *, payments: list[PastPayment]) -> list[str]:
        """Write past payments into the ledger in the given order; return their charge ids.

        Raises ControlError for an unknown person.
        """
        return [self._add(payment).id for payment in payments]

    def _add(self, payment: PastPayment) -> Charge:
        user = self._people.person(payment.user_id).user()
        recurring = payment.subscription or payment.subscription_id is not None
        period_seconds = SUBSCRIPTION_PERIOD_SECONDS if recurring else 0
        charge = self._charges.new(payment.user_id, payment.payload, payment.stars, payment.at)
        partner = payment_partner(
            user,
            payment.payload,
            period_seconds,
            as_paid_media=payment.as_paid_media,
            affiliate=self._affiliate(payment.affiliate),
        )
        self._ledger.append(charge_row(charge, payment.at, source=partner))
        if recurring:
            charge.subscription_id = payment.subscription_id or charge.id
            invoice = Invoice("", "", payment.payload, STARS, payment.stars, "", period_seconds)
            self._subscriptions.adopt(charge, invoice, period_after(payment.at))
        if payment.refunded_at is not None:
            charge.refunded_at = payment.refunded_at
            self._ledger.append(charge_row(charge, payment.refunded_at, receiver=partner))
        return charge

    def _affiliate(self, affiliate: Affiliate | None) -> Json | None:
        if affiliate is None:
            return None
        return {
            "affiliate_user": self._people.person(affiliate.user_id).user(),
            "commission_per_mille": affiliate.commission_per_mille,
            "amount": affiliate.stars,
        }
