"""The poll: updates fetched, recorded, confirmed to Telegram, and handed to the handlers."""
