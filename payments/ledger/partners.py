"""Reads the other side of a ledger row: its kind, the user or chat that it names, and a withdrawal's state.

Kinds are Telegram's own words (Bot API, TransactionPartner and `transaction_type`). Bot API servers before 9.0 leave
`transaction_type` out; then a field that only one kind has gives the kind.
"""

from collections.abc import Mapping
from typing import Any, Final

from db.limits import TELEGRAM_ID_MAX

INVOICE_KIND: Final = "invoice_payment"
PAID_MEDIA_KIND: Final = "paid_media_payment"
GIFT_KIND: Final = "gift_purchase"
PREMIUM_KIND: Final = "premium_purchase"
WITHDRAWAL_KIND: Final = "fragment"
ADS_KIND: Final = "telegram_ads"
BROADCAST_KIND: Final = "telegram_api"
CHAT_KIND: Final = "chat"
AFFILIATE_KIND: Final = "affiliate_program"
TRANSFER_KIND: Final = "business_account_transfer"
UNKNOWN_KIND: Final = "unknown"

NO_INVOICES: Final = frozenset({GIFT_KIND, PREMIUM_KIND, TRANSFER_KIND})
"""Kinds of a user's ledger row that never come from an invoice, whatever payload the row has."""

PENDING: Final = "pending"
FAILED: Final = "failed"

_WORD_LENGTH_MAX: Final = 40
_KINDS_BY_FIELD: Final = (
    ("invoice_payload", INVOICE_KIND),
    ("subscription_period", INVOICE_KIND),
    ("paid_media", PAID_MEDIA_KIND),
    ("paid_media_payload", PAID_MEDIA_KIND),
    ("gift", GIFT_KIND),
    ("premium_subscription_duration", PREMIUM_KIND),
)


def row_kind(partner: Mapping[str, Any]) -> str:
    """Read a ledger row's kind, in Telegram's word, from its partner; `unknown`: the partner has no usable word."""
    if partner.get("type") != "user":
        return _word(partner.get("type")) or UNKNOWN_KIND
    told = _word(partner.get("transaction_type"))
    if told is not None:
        return told
    return next((kind for name, kind in _KINDS_BY_FIELD if partner.get(name) is not None), UNKNOWN_KIND)


def lacks_transaction_type(raw: object) -> bool:
    """Tell whether a raw ledger row's partner is a user without `transaction_type`, as before Bot API 9.0."""
    if not isinstance(raw, dict):
        return False
    sides = (raw.get("source"), raw.get("receiver"))
    return any(
        isinstance(side, dict) and side.get("type") == "user" and "transaction_type" not in side for side in sides
    )


def withdrawal_state(partner: Mapping[str, Any]) -> str | None:
    """Read a withdrawal's state (Bot API, RevenueWithdrawalState) from a ledger row's partner; None: it has none."""
    state = partner.get("withdrawal_state")
    return _word(state.get("type")) if isinstance(state, dict) else None


def partner_id(partner: Mapping[str, Any]) -> int | None:
    """Read the Telegram id of the user or chat that is a ledger row's partner; None: the row names nobody."""
    return _first_partner_id(partner, "user", "sponsor_user", "chat")


def affiliate_id(affiliate: Mapping[str, Any]) -> int | None:
    """Read the Telegram id of the user or chat in a ledger row's AffiliateInfo; None: it names nobody."""
    return _first_partner_id(affiliate, "affiliate_user", "affiliate_chat")


def _first_partner_id(said: Mapping[str, Any], *names: str) -> int | None:
    """Return the first valid Telegram id among these fields of a ledger row's partner; None: all lack one."""
    for name in names:
        found = said.get(name)
        number = found.get("id") if isinstance(found, dict) else None
        if isinstance(number, int) and not isinstance(number, bool) and 0 < abs(number) <= TELEGRAM_ID_MAX:
            return number
    return None


def _word(said: object) -> str | None:
    """Return Telegram's word about a partner if it is short printable ASCII, fit to show and keep; otherwise None."""
    if isinstance(said, str) and said.isascii() and said.isprintable() and 0 < len(said) <= _WORD_LENGTH_MAX:
        return said
    return None
