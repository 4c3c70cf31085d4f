"""What an affiliate receives of a sale, and what the sale's price was.

Telegram does not say whether the amount of a sale with an affiliate is what was paid, or what is left of it after the
commission (Bot API, TransactionPartnerUser and AffiliateInfo). Either is taken for an agreement, and a price that is
not known otherwise is the one that the commission's share fits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import Field, ValidationError

from payments.ledger.nanostars import NANOSTARS
from payments.ledger.partners import affiliate_of
from payments.recording.fields import Narrow, in_words
from payments.sale.payload import AMOUNT_MAX, Reading

_PER_MILLE: Final = 1_000


class _Affiliate(Narrow):
    amount: int = Field(default=0, ge=-AMOUNT_MAX, le=AMOUNT_MAX)
    nanostar_amount: int = Field(default=0, gt=-NANOSTARS, lt=NANOSTARS)
    commission_per_mille: int | None = Field(default=None, ge=0, le=_PER_MILLE)


@dataclass(frozen=True, slots=True)
class Commission:
    """What somebody received of a sale, or gave back with its refund: never below 0. `per_mille` is its share.

    `problem` says what of it cannot be read; then it counts as nothing.
    """

    nanostars: int
    affiliate_id: int | None = None
    per_mille: int | None = None
    problem: str | None = None


def commission_of(partner: Mapping[str, Any]) -> Commission | None:
    """Return the commission that a row tells of; None when there is none."""
    said = partner.get("affiliate")
    if said is None:
        return None
    try:
        read = _Affiliate.model_validate(said)
    except ValidationError as error:
        return Commission(0, problem=f"affiliate: {in_words(error)}")
    nanostars = abs(read.amount * NANOSTARS + read.nanostar_amount)
    return Commission(nanostars, affiliate_of(said), read.commission_per_mille)


def agrees(nanostars: int, commission: Commission | None, price_stars: int) -> bool:
    """Tell whether a row's amount is a price, with the commission or without it."""
    return price_stars * NANOSTARS in _candidates(nanostars, commission)


def price_of(nanostars: int, commission: Commission | None, reading: Reading) -> int:
    """Return how many Stars were paid for what a row's payload says; 0 when it is no whole number of them."""
    if commission is None:
        # A part of a Star that nothing explains is no reason to doubt what was signed.
        is_odd = nanostars % NANOSTARS != 0
        return reading.order.amount if is_odd and reading.order is not None else nanostars // NANOSTARS
    order = reading.order or reading.claimed
    if order is not None and agrees(nanostars, commission, order.amount):
        return order.amount
    whole = [each // NANOSTARS for each in _candidates(nanostars, commission) if each % NANOSTARS == 0]
    prices = [each for each in whole if 0 < each <= AMOUNT_MAX]
    if reading.order is not None and (not commission.nanostars or not prices):
        return reading.order.amount
    return min(prices, key=lambda price: _off(price, commission), default=nanostars // NANOSTARS)


def _candidates(nanostars: int, commission: Commission | None) -> tuple[int, ...]:
    return (nanostars,) if commission is None else (nanostars + commission.nanostars, nanostars)


def _off(price_stars: int, commission: Commission) -> int:
    """Return by how much the commission misses its share of a price; without a share the first candidate is the one."""
    if commission.per_mille is None:
        return 0
    return abs(price_stars * NANOSTARS * commission.per_mille // _PER_MILLE - commission.nanostars)
