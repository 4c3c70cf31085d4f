"""The channel of cards: Telegram's own payment with a provider token, charged by Stripe."""
