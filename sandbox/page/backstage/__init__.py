"""Telegram's other side: what a person in a chat does not see."""
