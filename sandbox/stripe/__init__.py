"""A seller's account at Stripe, where the sandbox charges cards: what is in it, and its API over HTTP."""
