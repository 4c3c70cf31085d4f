"""Nanostars: the smallest part of a Star that Telegram's ledger knows."""

from typing import Final

NANOSTARS: Final = 1_000_000_000
"""In a Star (Bot API, StarTransaction: nanostar_amount)."""


def stars(nanostars: int) -> str:
    """Write nanostars as Stars, with as many decimals as it takes."""
    sign = "-" if nanostars < 0 else ""
    whole, rest = divmod(abs(nanostars), NANOSTARS)
    return f"{sign}{whole}" + (f".{rest:09d}".rstrip("0") if rest else "")
