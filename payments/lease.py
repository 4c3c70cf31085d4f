"""How long a call that changes something at Telegram takes, and how long no other process touches what it is about."""

from typing import Final

CALL_SECONDS: Final = 30
"""How long one call that gives Stars back, or changes a renewal, may take."""
LEASE_SECONDS: Final = 60
"""How long a refund or a renewal is left alone while its call is under way; longer than the time-outs of its calls."""
