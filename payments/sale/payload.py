"""Signs and reads invoice payloads; each tells what the desk sold to whom, even from Telegram's ledger alone.

A payload is one line of ASCII, its fields joined by colons::

    sl1:premium_monthly:30:200:XTR:123456789:0f1e2d3c4b5a69788796a5b4:5ab1...
    |   |               |  |   |   |         |                        `- signature, 128 bits of HMAC-SHA256
    |   |               |  |   |   |         `- nonce, 96 bits: tells two invoices for the same thing apart
    |   |               |  |   |   `- the buyer's Telegram id
    |   |               |  `---`- the price, in the currency's minor unit (Stars have none: Stars)
    |   |               `- days of access, `ever`, or `sub`: a subscription, whose days are Telegram's
    |   `- the plan's code
    `- form and version

Telegram takes 1 to 128 bytes (Bot API, sendInvoice). The longest fields and the seven colons: 3 + 20 + 5 + 10 + 3 + 16
+ 24 + 32 + 7 = 120.
"""

import hmac
import re
import secrets
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Final, Self

from db.limits import AMOUNT_MAX, TELEGRAM_ID_MAX
from payments.errors import PaymentError

PAYLOAD_BYTES_MAX: Final = 128
CODE_PATTERN: Final = "[a-z0-9_]{1,20}"
SUBSCRIPTION_TERM: Final = "sub"
DAYS_MAX: Final = 36_500

_NONCE_BYTES: Final = 12
_SIGNATURE_BYTES: Final = 16
_BODY: Final = re.compile(
    f"sl1:(?P<plan>{CODE_PATTERN}):(?P<term>[1-9][0-9]{{0,4}}|ever|{SUBSCRIPTION_TERM}):(?P<amount>[1-9][0-9]{{0,9}})"
    f":(?P<currency>[A-Z]{{3}}):(?P<buyer>[1-9][0-9]{{0,15}}):(?P<nonce>[0-9a-f]{{{2 * _NONCE_BYTES}}})"
)
# Another version's number is our form as well: an older program parks such a charge for the program that can read it,
# and does not call it foreign.
OUR_FORM_BEGINS: Final = "sl[0-9]{1,3}:"
_OUR_FORM: Final = re.compile(f"{OUR_FORM_BEGINS}[!-~]*")
_KEY_LABEL: Final = b"starledger invoice payload"


class PayloadError(PaymentError):
    """The desk cannot sign: no payload can carry the order, or the token cannot guard one.

    It is a bug or a wrong setting of ours. Reading a payload never raises it, whatever the payload holds.
    """


@dataclass(frozen=True, slots=True)
class Order:
    """An order: the plan that one invoice sells, its buyer, its price and the length of access.

    `days` is the length of access (None: lifetime). A subscription has no `days` either, because Telegram counts its 30
    days (Bot API, createInvoiceLink). `amount` is in the currency's minor unit. Raises PayloadError when a field is out
    of its range.
    """

    plan: str
    days: int | None
    subscription: bool
    amount: int
    currency: str
    buyer_telegram_id: int
    nonce: str = field(default_factory=partial(secrets.token_hex, _NONCE_BYTES))

    def __post_init__(self) -> None:
        if (
            _BODY.fullmatch(self.body) is None
            or (self.subscription and self.days is not None)
            or (self.days or 0) > DAYS_MAX
            or self.amount > AMOUNT_MAX
            or self.buyer_telegram_id > TELEGRAM_ID_MAX
        ):
            raise PayloadError(f"no payload can carry {self!r}")

    @property
    def body(self) -> str:
        """The payload without its signature; an order has exactly one."""
        term = term_of(self.days, subscription=self.subscription)
        fields = ("sl1", self.plan, term, self.amount, self.currency, self.buyer_telegram_id, self.nonce)
        return ":".join(map(str, fields))


def term_of(days: int | None, *, subscription: bool) -> str:
    """Return the length of access as a payload writes it."""
    return SUBSCRIPTION_TERM if subscription else "ever" if days is None else str(days)


class PayloadVerdict(Enum):
    """Verdict on a payload, by its form and its signature."""

    VALID = "valid"
    """Signed under the token in use."""
    OLD = "old"
    """Signed under a former token: the desk settles a charge, and declines a pre-checkout with "send /buy again"."""
    DAMAGED = "damaged"
    """Of our form, but not signed under any token we know: the desk parks a charge."""
    FOREIGN = "foreign"
    """Of another form: another program sells under the same token."""


@dataclass(frozen=True, slots=True)
class ReadPayload:
    """A payload after reading: its verdict, and the order that it proves or merely claims.

    `order` is there if and only if the verdict is VALID or OLD. `claimed` is the order in a DAMAGED payload, if the
    desk can read one: anybody can have written it, so the desk grants nothing on it without other proof (an equal
    payload of a settled charge, or an operator's word about a lost token). `is_vouched`: such a proof exists, so an OLD
    order needs no other proof of its terms.
    """

    verdict: PayloadVerdict
    order: Order | None = None
    claimed: Order | None = None
    is_vouched: bool = field(default=False, compare=False)


class PayloadSigner:
    """Signs orders under the bot's token, and reads payloads under that token and former ones.

    The key is HMAC-SHA256 of the whole token, bot id included, under a label of its own: it never equals a key that
    something else derives from the token, and a seller who revokes a leaked token revokes its invoices too. Raises
    PayloadError for an empty token, whose key everybody would know.
    """

    def __init__(self, token: str, old_tokens: Sequence[str] = ()) -> None:
        self._trusts_unsigned = False
        if not all(each.strip() for each in (token, *old_tokens)):
            raise PayloadError("an empty bot token cannot sign")
        self._key = _derive_key(token)
        self._old_keys = tuple(map(_derive_key, old_tokens))

    def trusting(self) -> Self:
        """Return a signer that reads any payload of our form as OLD, though no token proves it.

        It serves an operator who has lost the token of the signature, and never a pre-checkout.
        """
        trusting = copy(self)
        trusting._trusts_unsigned = True  # noqa: SLF001 - a copy of this very class
        return trusting

    def sign(self, order: Order) -> str:
        """Return the signed payload of an order: at most 120 bytes of ASCII, the same for the same order."""
        return _sign(self._key, order)

    def read(self, text: str) -> ReadPayload:
        """Read a payload and check its signature in constant time. Takes any text and never raises."""
        if len(text) > PAYLOAD_BYTES_MAX or _OUR_FORM.fullmatch(text) is None:
            return ReadPayload(PayloadVerdict.FOREIGN)
        order = _parse(text)
        if order is None:
            return ReadPayload(PayloadVerdict.DAMAGED)
        # An order has one text, and this compares the whole of it, so that no other text is valid.
        if hmac.compare_digest(text, _sign(self._key, order)):
            return ReadPayload(PayloadVerdict.VALID, order)
        if any(hmac.compare_digest(text, _sign(key, order)) for key in self._old_keys):
            return ReadPayload(PayloadVerdict.OLD, order, is_vouched=self._trusts_unsigned)
        if self._trusts_unsigned:
            return ReadPayload(PayloadVerdict.OLD, order, is_vouched=True)
        return ReadPayload(PayloadVerdict.DAMAGED, claimed=order)


def _derive_key(token: str) -> bytes:
    return hmac.digest(_KEY_LABEL, token.encode(), "sha256")


def _sign(key: bytes, order: Order) -> str:
    signature = hmac.digest(key, order.body.encode(), "sha256")[:_SIGNATURE_BYTES]
    return f"{order.body}:{signature.hex()}"


def _parse(text: str) -> Order | None:
    """Parse the order in a payload, and leave the signature unchecked; None: the payload holds no order."""
    found = _BODY.fullmatch(text.rpartition(":")[0])
    if found is None:
        return None
    term = found["term"]
    try:
        return Order(
            plan=found["plan"],
            days=None if term in {"ever", SUBSCRIPTION_TERM} else int(term),
            subscription=term == SUBSCRIPTION_TERM,
            amount=int(found["amount"]),
            currency=found["currency"],
            buyer_telegram_id=int(found["buyer"]),
            nonce=found["nonce"],
        )
    except PayloadError:
        return None
