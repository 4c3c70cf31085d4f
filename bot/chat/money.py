"""Amounts of money in the major unit of their currency."""

from decimal import Decimal

from babel.numbers import get_currency_precision

from db.states import STARS_CURRENCY
from payments.audit.shown import bounded


def in_major(amount: int, currency: str) -> Decimal:
    """Convert money from minor units (Stars: Stars) to major units, with the digits that its currency has."""
    digits = 0 if currency == STARS_CURRENCY else get_currency_precision(currency)
    return Decimal(bounded(amount)).scaleb(-digits)
