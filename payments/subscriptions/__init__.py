"""Stars subscriptions: what their charges and Telegram's updates make of them, and the renewal that is wanted."""
