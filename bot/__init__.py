"""Telegram's face of the desk: the only place with handlers."""
