"""How long a call that changes something at a provider takes, and how long its matter is left to one process."""

from typing import Final

CALL_SECONDS: Final = 30
"""How long one call that gives money back, or changes a renewal, may take."""
LEASE_SECONDS: Final = 60
"""How long a refund or a renewal is left alone while its call is under way; longer than the time-outs of its calls."""
