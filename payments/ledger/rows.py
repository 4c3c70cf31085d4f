"""Reads one raw row of Telegram's ledger (Bot API, StarTransaction) by a narrow model of our own.

A payment and its refund have the same id: the payment has a `source`, the refund a `receiver`. Telegram lists some
payments of invoices as `paid_media_payment`, with the payload under another name (telegram-bot-api, Client.cpp,
JsonStarTransactionPartner). Every raw row gives a ledger row; an unreadable one says why.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final

from pydantic import Field, ValidationError

from db.limits import AMOUNT_MAX
from db.states import STARS_CURRENCY, Direction
from payments.audit.facts import REFUND_PREFIX, ChargeFact, MoneyFact, RefundFact
from payments.ledger.commissions import Commission, fits_price, paid_price, read_commission
from payments.ledger.nanostars import NANOSTARS
from payments.ledger.partners import (
    INVOICE_KIND,
    NO_INVOICES,
    PAID_MEDIA_KIND,
    UNKNOWN_KIND,
    partner_id,
    row_kind,
    withdrawal_state,
)
from payments.recording.fields import ChargeId, Id, Narrow, Payload, Seconds, moment, wrong_fields
from payments.recording.updates import person_of
from payments.sale.payload import PayloadSigner, PayloadVerdict, ReadPayload

__all__ = ["INVOICE_KIND", "NANOSTARS", "UNKNOWN_KIND", "LedgerRow", "read_row"]

_KEY_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One ledger row. `nanostars` is its part of the balance; `event_id` is that of its audit row, if it can have one.

    `kind` is Telegram's own word for the reason of the movement. `fact` is the payment or refund in the row, if it
    belongs to an invoice of ours: `is_invoice` says that it surely does, otherwise a known charge of the same id proves
    it. `problem` names the unreadable part. `raw` is the whole row as JSON if a part is unreadable; of a row without an
    `id`, the quarantine keeps `raw`.
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
        """Tell whether the ledger row fits a price, as it is or with its commission."""
        return fits_price(abs(self.nanostars), self.commission, price_stars)


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
    """Read one raw ledger row, readable or not, into a LedgerRow.

    If a commission may have changed a row's amount, the signed price counts as its amount.
    """
    if not isinstance(raw, dict):
        return _unreadable_row(raw, UNKNOWN_KIND, "it is no object")
    directions = [name for name in ("source", "receiver") if isinstance(raw.get(name), dict)]
    if len(directions) != 1:
        return _unreadable_row(raw, UNKNOWN_KIND, "it has not one of source and receiver")
    is_out = directions == ["receiver"]
    partner = raw[directions[0]]
    kind = row_kind(partner)
    try:
        row = _Row.model_validate(raw)
    except ValidationError as error:
        return _unreadable_row(raw, kind, wrong_fields(error))
    commission = read_commission(partner)
    read = LedgerRow(
        _row_key(_direction_key(row.id, is_out=is_out)),
        kind,
        (row.amount * NANOSTARS + row.nanostar_amount) * (-1 if is_out else 1),
        happened_at=moment(row.date),
        id=row.id,
        direction=Direction.OUT if is_out else Direction.IN,
        telegram_id=partner_id(partner),
        state=withdrawal_state(partner),
        commission=commission,
        raw=None if commission is None or commission.problem is None else _row_json(raw),
    )
    return _read_user_row(read, raw, partner, signer) if partner.get("type") == "user" else read


def _direction_key(row_id: str, *, is_out: bool) -> str:
    """Return a ledger row's id and direction as the text from which its key is made."""
    if is_out:
        return REFUND_PREFIX + row_id
    # The NUL, which no real id has, keeps an incoming row with an id like a refund's apart from that refund.
    return f"charge\0{row_id}" if row_id.startswith(REFUND_PREFIX) else row_id


def _read_user_row(
    read: LedgerRow, raw: Mapping[str, Any], partner: Mapping[str, Any], signer: PayloadSigner
) -> LedgerRow:
    """Add to a user's ledger row the payment or refund that it holds, if it holds one."""
    event_id = f"{REFUND_PREFIX if read.direction is Direction.OUT else ''}{read.id}"
    try:
        fact, reading = _fact_of_user_row(read, _Partner.model_validate(partner), partner, signer)
    except (ValidationError, ValueError) as error:
        if read.kind != INVOICE_KIND:
            return replace(read, event_id=event_id)
        words = wrong_fields(error) if isinstance(error, ValidationError) else str(error)
        return replace(read, event_id=event_id, problem=words, raw=_row_json(raw))
    is_foreign = reading.verdict is PayloadVerdict.FOREIGN
    is_invoice = read.kind == INVOICE_KIND or (read.kind not in NO_INVOICES and not is_foreign)
    is_odd_invoice = read.kind == PAID_MEDIA_KIND and "paid_media" not in partner
    return replace(read, event_id=event_id, fact=fact, is_invoice=is_invoice or is_odd_invoice, is_foreign=is_foreign)


def _unreadable_row(raw: object, kind: str, problem: str) -> LedgerRow:
    """Make a ledger row of an unreadable raw row, with the problem and the raw JSON."""
    said = _row_json(raw)
    return LedgerRow(_row_key(said), kind, problem=problem, raw=said)


def _row_json(raw: object) -> str:
    """Write a raw ledger row as JSON, to keep an unreadable row whole."""
    return json.dumps(raw, sort_keys=True)


def _row_key(text: str) -> str:
    """Return a ledger row's short key, by which a later reading recognises the row."""
    return blake2b(text.encode(), digest_size=_KEY_BYTES).hexdigest()


def _fact_of_user_row(
    read: LedgerRow, partner: _Partner, said: Mapping[str, Any], signer: PayloadSigner
) -> tuple[MoneyFact, ReadPayload]:
    """Read the payment or refund in a user's ledger row. Raises ValueError if the row lacks a part of one."""
    payload = partner.invoice_payload if partner.invoice_payload is not None else partner.paid_media_payload
    reading = signer.read(payload or "")
    amount = paid_price(abs(read.nanostars), read.commission, reading)
    if read.id is None or read.happened_at is None or amount <= 0:
        raise ValueError("amount: it is not a whole number of Stars")
    person = person_of(partner.user, said["user"])
    if read.direction is Direction.OUT:
        return RefundFact(read.id, person, amount, STARS_CURRENCY, read.happened_at), reading
    if payload is None:
        raise ValueError("invoice_payload: it is missing")
    # A `paid_media_payment` may have a period, and Telegram leaves it out.
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
