"""Reads a row of Telegram's ledger (Bot API, StarTransaction) by a narrow model of our own.

A payment and its refund have the same id: the one has a `source`, the other a `receiver`. Some payments of invoices are
told as `paid_media_payment`, with the payload under another name (telegram-bot-api, Client.cpp,
JsonStarTransactionPartner). No row is refused: one that cannot be read says why.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints, ValidationError

from db.tables import STARS_CURRENCY
from payments.facts import REFUND_PREFIX, ChargeFact, MoneyFact, RefundFact
from payments.incoming import person_of
from payments.narrow import ChargeId, Id, Narrow, Payload, Seconds, in_words, moment
from payments.payload import AMOUNT_MAX, PayloadSigner, Reading, Verdict

NANOSTARS: Final = 1_000_000_000
"""In a Star (Bot API, StarTransaction: nanostar_amount)."""

INVOICE_KIND: Final = "invoice_payment"
UNKNOWN_KIND: Final = "unknown"
_PAID_MEDIA: Final = "paid_media_payment"
_KIND_LENGTH_MAX: Final = 40
_KEY_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One row. `nanostars` is what it adds to the balance; `event_id` is that of an audit row, if there is one of it.

    `kind` is Telegram's own word for what moved the Stars. `fact` is the payment or refund that the row would be,
    and `is_invoice` tells that it surely is one; else only a known charge of the same id makes it one. `problem` says
    what of the row cannot be read.
    """

    key: str
    kind: str
    nanostars: int = 0
    event_id: str | None = None
    fact: MoneyFact | None = None
    is_invoice: bool = False
    is_foreign: bool = False
    problem: str | None = None
    happened_at: datetime | None = None


class _Row(Narrow):
    id: ChargeId
    amount: int = Field(ge=0, le=AMOUNT_MAX)
    nanostar_amount: int = Field(default=0, ge=0, lt=NANOSTARS)
    date: Seconds


class _Affiliate(Narrow):
    amount: int = Field(default=0, ge=-AMOUNT_MAX, le=AMOUNT_MAX)
    nanostar_amount: int = Field(default=0, gt=-NANOSTARS, lt=NANOSTARS)


class _Partner(Narrow):
    user: Id
    transaction_type: Annotated[str, StringConstraints(max_length=_KIND_LENGTH_MAX)]
    invoice_payload: Payload | None = None
    paid_media_payload: Payload | None = None
    subscription_period: int | None = None
    affiliate: _Affiliate | None = None


def read_row(raw: object, signer: PayloadSigner) -> LedgerRow:
    """Read one row, whatever it holds. The signed price is the amount of a row that a commission may have changed."""
    if not isinstance(raw, dict):
        return _unreadable(raw, UNKNOWN_KIND, "it is no object")
    directions = [name for name in ("source", "receiver") if isinstance(raw.get(name), dict)]
    if len(directions) != 1:
        return _unreadable(raw, UNKNOWN_KIND, "it has not one of source and receiver")
    is_refund = directions == ["receiver"]
    partner = raw[directions[0]]
    kind = _kind(partner)
    try:
        row = _Row.model_validate(raw)
    except ValidationError as error:
        return _unreadable(raw, kind, in_words(error))
    event_id = f"{REFUND_PREFIX if is_refund else ''}{row.id}"
    key = _key(event_id)
    nanostars = (row.amount * NANOSTARS + row.nanostar_amount) * (-1 if is_refund else 1)
    if partner.get("type") != "user":
        return LedgerRow(key, kind, nanostars, happened_at=moment(row.date))
    try:
        read = _Partner.model_validate(partner)
        fact, payload_reading = _fact(row, read, partner, signer, is_refund=is_refund)
    except (ValidationError, ValueError) as error:
        is_money = kind == INVOICE_KIND
        words = in_words(error) if isinstance(error, ValidationError) else str(error)
        problem = words if is_money else None
        return LedgerRow(key, kind, nanostars, event_id, problem=problem, happened_at=moment(row.date))
    is_foreign = payload_reading.verdict is Verdict.FOREIGN
    is_odd_invoice = kind == _PAID_MEDIA and (not is_foreign or "paid_media" not in partner)
    is_invoice = kind == INVOICE_KIND or is_odd_invoice
    return LedgerRow(
        key,
        kind,
        nanostars,
        event_id,
        fact,
        is_invoice=is_invoice,
        is_foreign=is_foreign,
        happened_at=fact.happened_at,
    )


def _unreadable(raw: object, kind: str, problem: str) -> LedgerRow:
    return LedgerRow(_key(json.dumps(raw, sort_keys=True)), kind, problem=problem)


def _key(text: str) -> str:
    return blake2b(text.encode(), digest_size=_KEY_BYTES).hexdigest()


def _kind(partner: Mapping[str, Any]) -> str:
    kind = partner.get("transaction_type") if partner.get("type") == "user" else partner.get("type")
    if isinstance(kind, str) and kind.isascii() and kind.isprintable() and 0 < len(kind) <= _KIND_LENGTH_MAX:
        return kind
    return UNKNOWN_KIND


def _fact(
    row: _Row, partner: _Partner, said: Mapping[str, Any], signer: PayloadSigner, *, is_refund: bool
) -> tuple[MoneyFact, Reading]:
    """Return the payment or refund that a user's row is; ValueError when it is none that can be recorded."""
    payload = partner.invoice_payload if partner.invoice_payload is not None else partner.paid_media_payload
    reading = signer.read(payload or "")
    amount = _amount(row, partner, reading)
    if amount <= 0:
        raise ValueError("amount: it is not a whole number of Stars")
    person = person_of(partner.user, said["user"])
    happened_at = moment(row.date)
    if is_refund:
        return RefundFact(row.id, person, amount, STARS_CURRENCY, happened_at), reading
    if payload is None:
        raise ValueError("invoice_payload: it is missing")
    # The odd form says nothing of a period: some of its payments may have had one.
    is_recurring = partner.subscription_period is not None or (None if partner.invoice_payload is None else False)
    charge = ChargeFact(
        row.id,
        person,
        amount,
        STARS_CURRENCY,
        payload,
        happened_at,
        is_recurring=is_recurring,
        is_first_recurring=None if is_recurring in {True, None} else False,
    )
    return charge, reading


def _amount(row: _Row, partner: _Partner, reading: Reading) -> int:
    """Return how many Stars were paid: not told is whether a row has them before or after an affiliate's commission."""
    affiliate = partner.affiliate
    if affiliate is None and not row.nanostar_amount:
        return row.amount
    if reading.order is not None:
        return reading.order.amount
    if reading.claimed is not None and affiliate is not None:
        commission_nanostars = abs(affiliate.amount * NANOSTARS + affiliate.nanostar_amount)
        if row.amount * NANOSTARS + row.nanostar_amount + commission_nanostars == reading.claimed.amount * NANOSTARS:
            return reading.claimed.amount
    return row.amount
