"""Refunds: asked for on record, sent to their provider, and known again when it tells of them."""
