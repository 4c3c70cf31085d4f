"""Reads the affiliate's commission in a ledger row, and works out the price of the sale that it came from.

The Bot API leaves open whether the amount of a sale with an affiliate is the price, or the price less the commission
(TransactionPartnerUser and AffiliateInfo). A known price agrees with a row that fits it either way. For an unknown
price, the commission's share of it (per mille) decides between the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import Field, ValidationError

from db.limits import AMOUNT_MAX
from payments.ledger.nanostars import NANOSTARS
from payments.ledger.partners import affiliate_id
from payments.recording.fields import Narrow, wrong_fields
from payments.sale.payload import ReadPayload

_PER_MILLE: Final = 1_000


class _Affiliate(Narrow):
    amount: int = Field(default=0, ge=-AMOUNT_MAX, le=AMOUNT_MAX)
    nanostar_amount: int = Field(default=0, gt=-NANOSTARS, lt=NANOSTARS)
    commission_per_mille: int | None = Field(default=None, ge=0, le=_PER_MILLE)


@dataclass(frozen=True, slots=True)
class Commission:
    """The affiliate's part of a sale or of its refund, 0 or more. `per_mille` is the commission's share of the price.

    `problem` names the unreadable fields; an unreadable commission counts as 0.
    """

    nanostars: int
    affiliate_id: int | None = None
    per_mille: int | None = None
    problem: str | None = None


def read_commission(partner: Mapping[str, Any]) -> Commission | None:
    """Read the affiliate's commission from a ledger row's partner; None: the row has no affiliate."""
    said = partner.get("affiliate")
    if said is None:
        return None
    try:
        read = _Affiliate.model_validate(said)
    except ValidationError as error:
        return Commission(0, problem=f"affiliate: {wrong_fields(error)}")
    nanostars = abs(read.amount * NANOSTARS + read.nanostar_amount)
    return Commission(nanostars, affiliate_id(said), read.commission_per_mille)


def fits_price(nanostars: int, commission: Commission | None, price_stars: int) -> bool:
    """Tell whether a ledger row's amount fits a price, with the affiliate's commission or without it."""
    return price_stars * NANOSTARS in _possible_nanostars(nanostars, commission)


def paid_price(nanostars: int, commission: Commission | None, reading: ReadPayload) -> int:
    """Work out the price in Stars of the sale in a ledger row from its amount, commission and payload.

    0 stands for an amount below one Star.
    """
    if commission is None:
        # The signed price counts even if the amount has a part of a Star and no commission explains it.
        is_odd = nanostars % NANOSTARS != 0
        return reading.order.amount if is_odd and reading.order is not None else nanostars // NANOSTARS
    order = reading.order or reading.claimed
    if order is not None and fits_price(nanostars, commission, order.amount):
        return order.amount
    whole = [each // NANOSTARS for each in _possible_nanostars(nanostars, commission) if each % NANOSTARS == 0]
    prices = [each for each in whole if 0 < each <= AMOUNT_MAX]
    if reading.order is not None and (not commission.nanostars or not prices):
        return reading.order.amount
    return min(prices, key=lambda price: _commission_error(price, commission), default=nanostars // NANOSTARS)


def _possible_nanostars(nanostars: int, commission: Commission | None) -> tuple[int, ...]:
    """Return the prices, in nanostars, that a commission and its ledger row's amount allow."""
    return (nanostars,) if commission is None else (nanostars + commission.nanostars, nanostars)


def _commission_error(price_stars: int, commission: Commission) -> int:
    """Return the nanostars by which a commission misses its share of a price; 0 if Telegram names no share."""
    if commission.per_mille is None:
        return 0
    return abs(price_stars * NANOSTARS * commission.per_mille // _PER_MILLE - commission.nanostars)
