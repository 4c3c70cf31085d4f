"""Reads a row of Telegram's ledger (Bot API, StarTransaction) by a narrow model of our own.

A payment and its refund have the same id: the one has a `source`, the other a `receiver`. Some payments of invoices are
told as `paid_media_payment`, with the payload under another name (telegram-bot-api, Client.cpp,
JsonStarTransactionPartner). No row is refused: one that cannot be read says why.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final

from pydantic import Field, ValidationError

from db.states import Direction
from db.tables import STARS_CURRENCY
from payments.audit.facts import REFUND_PREFIX, ChargeFact, MoneyFact, RefundFact
from payments.ledger.commissions import Commission, agrees, commission_of, price_of
from payments.ledger.nanostars import NANOSTARS
from payments.ledger.partners import (
    INVOICE_KIND,
    NO_INVOICES,
    PAID_MEDIA_KIND,
    UNKNOWN_KIND,
    kind_of,
    state_of,
    whose,
)
from payments.recording.fields import ChargeId, Id, Narrow, Payload, Seconds, in_words, moment
from payments.recording.updates import person_of
from payments.sale.payload import AMOUNT_MAX, PayloadSigner, Reading, Verdict

__all__ = ["INVOICE_KIND", "NANOSTARS", "UNKNOWN_KIND", "LedgerRow", "read_row"]

_KEY_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One row. `nanostars` is what it adds to the balance; `event_id` is that of an audit row, if there is one of it.

    `kind` is Telegram's own word for what moved the Stars. `fact` is the payment or refund that the row would be,
    and `is_invoice` tells that it surely is one; else only a known charge of the same id makes it one. `problem` says
    what of the row cannot be read. `raw` is all of a row of which something cannot be, as JSON; without an `id` it
    cannot be kept otherwise.
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
    id: str | None = None
    direction: Direction = Direction.IN
    telegram_id: int | None = None
    state: str | None = None
    commission: Commission | None = None
    raw: str | None = None

    def is_worth(self, price_stars: int) -> bool:
        """Tell whether the row agrees with a price, as it is or with its commission."""
        return agrees(abs(self.nanostars), self.commission, price_stars)


class _Row(Narrow):
    id: ChargeId
    amount: int = Field(ge=0, le=AMOUNT_MAX)
    nanostar_amount: int = Field(default=0, ge=0, lt=NANOSTARS)
    date: Seconds


class _Partner(Narrow):
    user: Id
    invoice_payload: Payload | None = None
    paid_media_payload: Payload | None = None
    subscription_period: int | None = None


def read_row(raw: object, signer: PayloadSigner) -> LedgerRow:
    """Read one row, whatever it holds. The signed price is the amount of a row that a commission may have changed."""
    if not isinstance(raw, dict):
        return _unreadable(raw, UNKNOWN_KIND, "it is no object")
    directions = [name for name in ("source", "receiver") if isinstance(raw.get(name), dict)]
    if len(directions) != 1:
        return _unreadable(raw, UNKNOWN_KIND, "it has not one of source and receiver")
    is_out = directions == ["receiver"]
    partner = raw[directions[0]]
    kind = kind_of(partner)
    try:
        row = _Row.model_validate(raw)
    except ValidationError as error:
        return _unreadable(raw, kind, in_words(error))
    commission = commission_of(partner)
    read = LedgerRow(
        _key(_name(row.id, is_out=is_out)),
        kind,
        (row.amount * NANOSTARS + row.nanostar_amount) * (-1 if is_out else 1),
        happened_at=moment(row.date),
        id=row.id,
        direction=Direction.OUT if is_out else Direction.IN,
        telegram_id=whose(partner),
        state=state_of(partner),
        commission=commission,
        raw=None if commission is None or commission.problem is None else _json(raw),
    )
    return _of_a_user(read, raw, partner, signer) if partner.get("type") == "user" else read


def _name(row_id: str, *, is_out: bool) -> str:
    if is_out:
        return REFUND_PREFIX + row_id
    # One that came in and is called like a refund is another row than the refund; no id has a NUL.
    return f"charge\0{row_id}" if row_id.startswith(REFUND_PREFIX) else row_id


def _of_a_user(read: LedgerRow, raw: Mapping[str, Any], partner: Mapping[str, Any], signer: PayloadSigner) -> LedgerRow:
    """Add what a user's row is beside an entry in the books: a payment, a refund, or neither."""
    event_id = f"{REFUND_PREFIX if read.direction is Direction.OUT else ''}{read.id}"
    try:
        fact, reading = _fact(read, _Partner.model_validate(partner), partner, signer)
    except (ValidationError, ValueError) as error:
        if read.kind != INVOICE_KIND:
            return replace(read, event_id=event_id)
        words = in_words(error) if isinstance(error, ValidationError) else str(error)
        return replace(read, event_id=event_id, problem=words, raw=_json(raw))
    is_foreign = reading.verdict is Verdict.FOREIGN
    is_invoice = read.kind == INVOICE_KIND or (read.kind not in NO_INVOICES and not is_foreign)
    is_odd_invoice = read.kind == PAID_MEDIA_KIND and "paid_media" not in partner
    return replace(read, event_id=event_id, fact=fact, is_invoice=is_invoice or is_odd_invoice, is_foreign=is_foreign)


def _unreadable(raw: object, kind: str, problem: str) -> LedgerRow:
    said = _json(raw)
    return LedgerRow(_key(said), kind, problem=problem, raw=said)


def _json(raw: object) -> str:
    return json.dumps(raw, sort_keys=True)


def _key(text: str) -> str:
    return blake2b(text.encode(), digest_size=_KEY_BYTES).hexdigest()


def _fact(
    read: LedgerRow, partner: _Partner, said: Mapping[str, Any], signer: PayloadSigner
) -> tuple[MoneyFact, Reading]:
    """Return the payment or refund that a user's row is; ValueError when it is none that can be recorded."""
    payload = partner.invoice_payload if partner.invoice_payload is not None else partner.paid_media_payload
    reading = signer.read(payload or "")
    amount = price_of(abs(read.nanostars), read.commission, reading)
    if read.id is None or read.happened_at is None or amount <= 0:
        raise ValueError("amount: it is not a whole number of Stars")
    person = person_of(partner.user, said["user"])
    if read.direction is Direction.OUT:
        return RefundFact(read.id, person, amount, STARS_CURRENCY, read.happened_at), reading
    if payload is None:
        raise ValueError("invoice_payload: it is missing")
    # The odd form says nothing of a period: some of its payments may have had one.
    is_recurring = partner.subscription_period is not None or (None if partner.invoice_payload is None else False)
    charge = ChargeFact(
        read.id,
        person,
        amount,
        STARS_CURRENCY,
        payload,
        read.happened_at,
        is_recurring=is_recurring,
        is_first_recurring=None if is_recurring in {True, None} else False,
    )
    return charge, reading
