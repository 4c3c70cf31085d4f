"""Limits of the tables' columns: the longest texts and the largest numbers that a row may hold (db/tables.py)."""

from typing import Final

AMOUNT_MAX: Final = 2**31 - 1
"""The most that `stripe_events.amount_cents`, a 32-bit column that other services share, can hold."""
TELEGRAM_ID_MAX: Final = 2**52 - 1
"""Bot API, User and Chat: the id "has at most 52 significant bits"."""

CHARGE_ID_LENGTH_MAX: Final = 1024
"""Characters of a charge's id; ids of more than 128 exist."""
CHARGE_ID_BYTES_MAX: Final = 2048
"""PostgreSQL indexes at most 2,704 bytes, and `returned:refund:` and a UUID may stand around a charge's id."""

ERROR_LENGTH_MAX: Final = 500
"""Characters of an error's words that stay on record.

A database's words may be long, and an admin's message has at most 4,096 characters (Bot API, sendMessage).
"""
