"""Telegram's face of the desk: the only place with handlers."""

__version__ = "0.1.0"
