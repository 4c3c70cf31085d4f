"""The poll: fetches updates, records money, confirms updates to Telegram, and hands them to the handlers."""
