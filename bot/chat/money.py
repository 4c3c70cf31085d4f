"""Amounts as their currencies have them."""

from decimal import Decimal

from babel.numbers import get_currency_precision

from db.tables import STARS_CURRENCY
from payments.audit.shown import bounded


def in_major(amount: int, currency: str) -> Decimal:
    """Return an amount in minor units (Stars: Stars) in whole ones, with the digits that its currency has."""
    digits = 0 if currency == STARS_CURRENCY else get_currency_precision(currency)
    return Decimal(bounded(amount)).scaleb(-digits)
