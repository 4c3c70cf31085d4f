"""The time-outs and pauses that tests hand in."""

from dataclasses import replace
from typing import Final

from db.lock import DeskLock
from db.lock.advisory_lock import AdvisoryLock
from db.timings import Timings
from tests.support.waiting import WAIT_SECONDS

RESTLESS: Final = Timings(chat_rest_seconds=0, group_rest_seconds=0)
"""No chat is left alone after a message."""

QUICK: Final = Timings(outage_pause_seconds_min=0.01, outage_pause_seconds_max=0.02)
"""A poll that failed is tried again at once."""

PATIENT: Final = Timings(
    checkout_seconds=WAIT_SECONDS, record_seconds=WAIT_SECONDS, chat_rest_seconds=0, group_rest_seconds=0
)
"""Deadlines that a busy machine meets too; and no chat rests."""


def change_timings(lock: DeskLock, **seconds: float) -> None:
    """Change the timings of a desk's lock while it is held or waited for."""
    assert isinstance(lock, AdvisoryLock)
    lock._timings = replace(lock._timings, **seconds)
