"""The length of a long poll, which gets shorter when a gateway ends idle polls, because that is no outage.

A gateway between the desk and Telegram may end a call that is silent for long: with a 504, a page of its own, or a
closed connection. Then only the length of the poll is wrong.
"""

import time
from collections.abc import Callable
from typing import Final

from aiogram.exceptions import ClientDecodeError, TelegramNetworkError, TelegramServerError
from loguru import logger

from payments.telegram_errors import Fate, TelegramError, fate_of

SECONDS_MIN: Final = 1
CUTS_MAX: Final = 3
"""More cut polls in a row, without an answer between them, are an outage, however long each has waited."""
IDLE_SECONDS_MIN: Final = 0.5
"""A poll that fails sooner has not waited."""
SHORT_SECONDS: Final = 600
"""The time for which polls stay short; then a long one tries whether the gateway lets it through."""

_HELD_SECONDS: Final = 3
"""The time for which Telegram may hold a shorter poll, at an offset that it was just asked for."""
_GRACE_SECONDS: Final = 1
_SHARE: Final = 0.8
_CLOSED: Final = ("ServerDisconnectedError", "ClientOSError", "ClientPayloadError", "ConnectionResetError")
"""aiohttp's errors for a connection that ends before its answer; a connection that never opened has other names."""


def was_cut_while_idle(error: TelegramError, waited_seconds: float, asked_seconds: int) -> bool:
    """Tell whether a gateway has ended a poll for its silence."""
    if not IDLE_SECONDS_MIN <= waited_seconds <= max(asked_seconds, _HELD_SECONDS) + _GRACE_SECONDS:
        return False
    if isinstance(error, TelegramNetworkError):
        return error.message.startswith(_CLOSED)
    return isinstance(error, TelegramServerError | ClientDecodeError) and fate_of(error) is Fate.AWAY


class PollRhythm:
    """The length of the next poll, in whole seconds. `clock` is one that only goes forward."""

    def __init__(self, seconds_max: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds_max = seconds_max
        self._clock = clock
        self._short: tuple[int, float] | None = None
        self._cuts = 0

    @property
    def seconds(self) -> int:
        """The length of the next poll, in seconds."""
        if self._short is not None and self._clock() >= self._short[1]:
            self._short = None
        return self._seconds_max if self._short is None else self._short[0]

    def answered(self) -> None:
        """Note that Telegram answered a poll."""
        self._cuts = 0

    def is_idle(self, error: TelegramError, waited_seconds: float, asked_seconds: int) -> bool:
        """Tell whether a failed poll was only idle; if so, shorten the next polls."""
        if not was_cut_while_idle(error, waited_seconds, asked_seconds):
            return False
        self._cuts += 1
        if self._cuts > CUTS_MAX:
            return False
        seconds = max(SECONDS_MIN, int(min(waited_seconds, self.seconds) * _SHARE))
        self._short = seconds, self._clock() + SHORT_SECONDS
        logger.info(
            "a gateway before Telegram ended a poll after {:.1f} s: the next ones take {} s", waited_seconds, seconds
        )
        return True
