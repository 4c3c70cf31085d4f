"""Messages that are on record, delivered at the pace that Telegram allows."""
