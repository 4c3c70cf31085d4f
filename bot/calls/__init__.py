"""Calls to Telegram: their sessions, proxies and certificates, their retries, and Telegram's time in their answers."""
