"""Nanostars: the smallest unit of Telegram's ledger."""

from typing import Final

NANOSTARS: Final = 1_000_000_000
"""Nanostars in a Star (Bot API, StarTransaction: nanostar_amount)."""


def stars(nanostars: int) -> str:
    """Write an amount of nanostars as Stars, with as many decimals as it needs."""
    sign = "-" if nanostars < 0 else ""
    whole, rest = divmod(abs(nanostars), NANOSTARS)
    return f"{sign}{whole}" + (f".{rest:09d}".rstrip("0") if rest else "")
