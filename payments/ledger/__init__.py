"""Telegram's ledger of Stars: compared with our rows, and the database rebuilt from it."""
