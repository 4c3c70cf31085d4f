"""The time-outs and pauses that tests hand in."""

from typing import Final

from db.timings import Timings
from tests.support.waiting import WAIT_SECONDS

RESTLESS: Final = Timings(chat_rest_seconds=0, group_rest_seconds=0)
"""No chat is left alone after a message."""

PATIENT: Final = Timings(
    checkout_seconds=WAIT_SECONDS, record_seconds=WAIT_SECONDS, chat_rest_seconds=0, group_rest_seconds=0
)
"""However busy the machine is, nothing is declined for the time that it takes; and no chat rests."""
