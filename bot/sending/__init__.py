"""Sending: the outbox delivers recorded notices, at the pace that Telegram allows."""
