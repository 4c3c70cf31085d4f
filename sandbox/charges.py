"""Charges in Stars: Stars that moved from a person to the bot, and back."""

from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from sandbox.clock import VirtualClock
from sandbox.errors import ControlError, bad_request
from sandbox.feed import Feed
from sandbox.invoices import STARS, SUBSCRIPTION_PERIOD_SECONDS, Invoice
from sandbox.ledger import NANO, Ledger, payment_partner
from sandbox.messages import Messages
from sandbox.people import People, Person
from sandbox.settings import Settings
from sandbox.shapes import Json, without_none

_AFFILIATE: Json = {"id": 4242, "is_bot": False, "first_name": "Affiliate"}


@dataclass(slots=True)
class Charge:
    """A payment in Stars that went through. `subscription_id` is the id of its subscription's first charge."""

    id: str
    provider_id: str
    user_id: int
    stars: int
    payload: str
    charged_at: datetime
    subscription_id: str | None = None
    refunded_at: datetime | None = None
    commission_nanostars: int = 0
    """The affiliate's commission."""
    commission_per_mille: int = 0


@dataclass(frozen=True, slots=True)
class Period:
    """The period that a subscription's charge pays for: its end, and its first charge (None: it is the first)."""

    ends_at: datetime
    first_charge_id: str | None


class Charges:
    """All charges in Stars by id; the only place where Stars change hands."""

    def __init__(
        self,
        clock: VirtualClock,
        people: People,
        messages: Messages,
        ledger: Ledger,
        feed: Feed,
        settings: Settings,
        random: Random,
    ) -> None:
        self.by_id: dict[str, Charge] = {}
        self._clock = clock
        self._people = people
        self._messages = messages
        self._ledger = ledger
        self._feed = feed
        self._settings = settings
        self._random = random

    def take(self, person: Person, invoice: Invoice, period: Period | None = None) -> Charge:
        """Move the price in Stars from person to bot: balance, ledger row, and the successful_payment message.

        The caller has checked that the balance is high enough.
        """
        charge = self.new(person.id, invoice.payload, invoice.total_amount, self._clock.now())
        if period is not None:
            charge.subscription_id = period.first_charge_id or charge.id
        person.balance_stars -= charge.stars
        charge.commission_per_mille = self._settings.switches.affiliate_per_mille
        charge.commission_nanostars = charge.stars * NANO * charge.commission_per_mille // 1000
        partner = payment_partner(
            person.user(), charge.payload, invoice.subscription_period_seconds, affiliate=_affiliate(charge)
        )
        self._ledger.append(charge_row(charge, charge.charged_at, source=partner) | self._amount(charge))
        self._messages.post_by_person(person, person, {"successful_payment": _successful_payment(charge, period)})
        self._feed.publish("charge", charge_id=charge.id, user_id=person.id)
        return charge

    def refund(self, user_id: int, charge_id: str) -> Charge:
        """Refund a charge in Stars for refundStarPayment; raises ApiError with Telegram's CHARGE_ texts.

        CHARGE_NOT_FOUND for a wrong user is a guess, because nobody has seen Telegram's text.
        """
        charge = self.by_id.get(charge_id)
        if charge is None or charge.user_id != user_id:
            raise bad_request("CHARGE_NOT_FOUND")
        if charge.refunded_at is not None:
            raise bad_request("CHARGE_ALREADY_REFUNDED")
        if self._settings.switches.refuse_refund_below_balance and self._ledger.balance_stars() < charge.stars:
            raise bad_request("BALANCE_TOO_LOW")
        self._give_back(charge)
        return charge

    def refund_elsewhere(self, *, charge_id: str) -> Charge:
        """Refund a charge in Stars as Telegram's support does, without the bot."""
        charge = self.by_id.get(charge_id)
        if charge is None or charge.refunded_at is not None:
            raise ControlError(f"there is no charge {charge_id} to refund")
        self._give_back(charge)
        return charge

    def _give_back(self, charge: Charge) -> None:
        person = self._people.persons[charge.user_id]
        charge.refunded_at = self._clock.now()
        person.balance_stars += charge.stars
        period_seconds = SUBSCRIPTION_PERIOD_SECONDS if charge.subscription_id else 0
        partner = payment_partner(
            person.user(), charge.payload, period_seconds, affiliate=_affiliate(charge, is_back=True)
        )
        self._ledger.append(charge_row(charge, charge.refunded_at, receiver=partner) | self._amount(charge))
        self._messages.post_service_by_bot(person, {"refunded_payment": _refunded_payment(charge)})
        self._feed.publish("refund", charge_id=charge.id, user_id=person.id)

    def _amount(self, charge: Charge) -> Json:
        """Return the amount of a charge's ledger row, from which a switch takes the commission off."""
        if not charge.commission_nanostars or not self._settings.switches.affiliate_amounts_net:
            return {}
        stars, nanostars = divmod(charge.stars * NANO - charge.commission_nanostars, NANO)
        return without_none(amount=stars, nanostar_amount=nanostars or None)

    def new(self, user_id: int, payload: str, stars: int, at: datetime) -> Charge:
        """Make a charge in Stars with a new id; no Star moves yet."""
        length = self._settings.charge_id_length
        charge_id = "stx" + urlsafe_b64encode(self._random.randbytes(length)).decode()[: length - len("stx")]
        charge = Charge(charge_id, f"{user_id}_{len(self.by_id) + 1}", user_id, stars, payload, at)
        self.by_id[charge_id] = charge
        return charge


def _affiliate(charge: Charge, *, is_back: bool = False) -> Json | None:
    """Return the AffiliateInfo of a charge's ledger row, negative for a refund (Bot API)."""
    if not charge.commission_per_mille:
        return None
    sign = -1 if is_back else 1
    stars, nanostars = divmod(charge.commission_nanostars, NANO)
    return without_none(
        affiliate_user=_AFFILIATE,
        commission_per_mille=charge.commission_per_mille,
        amount=sign * stars,
        nanostar_amount=sign * nanostars or None,
    )


def charge_row(charge: Charge, at: datetime, *, source: Json | None = None, receiver: Json | None = None) -> Json:
    """Return the StarTransaction of a charge (`source`) or of its refund (`receiver`), with the same id."""
    date = int(at.timestamp())
    return without_none(id=charge.id, amount=charge.stars, date=date, source=source, receiver=receiver)


def _successful_payment(charge: Charge, period: Period | None) -> Json:
    """Return the Bot API's SuccessfulPayment; false flags are absent, the first charge has both (TDLib)."""
    return without_none(
        currency=STARS,
        total_amount=charge.stars,
        invoice_payload=charge.payload,
        telegram_payment_charge_id=charge.id,
        provider_payment_charge_id=charge.provider_id,
        subscription_expiration_date=int(period.ends_at.timestamp()) if period else None,
        is_recurring=True if period else None,
        is_first_recurring=True if period and period.first_charge_id is None else None,
    )


def _refunded_payment(charge: Charge) -> Json:
    return {
        "currency": STARS,
        "total_amount": charge.stars,
        "invoice_payload": charge.payload,
        "telegram_payment_charge_id": charge.id,
        "provider_payment_charge_id": charge.provider_id,
    }


def period_after(moment: datetime) -> datetime:
    """Return the end of the 30 days of a subscription that begin at `moment`."""
    return moment + timedelta(seconds=SUBSCRIPTION_PERIOD_SECONDS)
