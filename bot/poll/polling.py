"""The poll loop: repeats the poll for as long as the process lives, and waits out Telegram's outages."""

import asyncio
import time
from typing import Final

from aiogram.exceptions import (
    ClientDecodeError,
    TelegramAPIError,
    TelegramConflictError,
    TelegramRetryAfter,
)
from aiogram.utils.backoff import Backoff, BackoffConfig
from loguru import logger

from bot.poll.conflicts import ConflictAlert
from bot.poll.intake import Intake
from db.errors import AnotherDeskError
from db.timings import PRODUCTION, Timings
from payments.telegram_errors import TELEGRAM_ERRORS, Fate, fate_of, in_words

_FACTOR: Final = 1.5
_JITTER_SHARE: Final = 0.2
"""The jitter of a pause, as a share of the first pause."""


class Outage:
    """An outage of Telegram: logs it once a minute and once at its end, and waits between the tries."""

    def __init__(self, timings: Timings = PRODUCTION, answered_at: float | None = None) -> None:
        """Start with no outage; `answered_at` is the time.monotonic of Telegram's last answer; None: never yet."""
        self._said_at: float | None = None
        self._answered_at = answered_at
        self._timings = timings
        first, longest = timings.outage_pause_seconds_min, timings.outage_pause_seconds_max
        self._backoff = Backoff(BackoffConfig(first, longest, _FACTOR, _JITTER_SHARE * first))

    def over(self) -> None:
        """End the outage.

        The caller does so because Telegram has answered.
        """
        self._answered_at = time.monotonic()
        if self._said_at is not None:
            logger.info("Telegram answers again")
            self._said_at = None
        self._backoff.reset()

    async def wait(self, error: TelegramAPIError | ClientDecodeError) -> None:
        """Log the error if the last log line is old, and wait for the next try."""
        now = time.monotonic()
        if self._said_at is None or now - self._said_at >= self._timings.outage_log_seconds:
            logger.error(_trouble(error, self._timings.retry_after_seconds_max))
            self._said_at = now
        if fate_of(error) is not Fate.AWAY:
            self._answered_at = now
        if isinstance(error, TelegramRetryAfter):
            await asyncio.sleep(min(error.retry_after, self._timings.retry_after_seconds_max))
        else:
            of = self._timings
            is_lately = self._answered_at is not None and now - self._answered_at < of.lately_seconds
            longest = of.outage_pause_seconds_max_lately if is_lately else of.outage_pause_seconds_max
            await asyncio.sleep(min(next(self._backoff), longest))


def _trouble(error: TelegramAPIError | ClientDecodeError, pause_seconds_max: float) -> str:
    if isinstance(error, ClientDecodeError):
        return f"Telegram's answer cannot be read, trying on: {in_words(error)}; is a proxy in between?"
    if isinstance(error, TelegramRetryAfter):
        again = min(error.retry_after, pause_seconds_max)
        asked = f"Telegram asks for a pause of {error.retry_after} s ({error.method.__api_method__})"
        return f"{asked}: trying again in {again} s"
    match fate_of(error):
        case Fate.WEBHOOK:
            return f"a webhook is set: `doctor --remove-webhook` removes it; trying on: {error.message}"
        case Fate.CONFLICT:
            return f"another program polls with the same token; trying on: {error.message}"
        case Fate.TOKEN:
            return "Telegram refuses the token; was it revoked? Put the new one into TELEGRAM_BOT_TOKEN and restart"
        case Fate.LOGGED_OUT:
            return f"the bot is logged out, as while it moves between Bot API servers; trying on: {in_words(error)}"
    return f"Telegram cannot be reached, trying on: {in_words(error)}"


async def poll_forever(intake: Intake, conflicts: ConflictAlert, timings: Timings = PRODUCTION) -> None:
    """Poll until cancelled; log every error and wait.

    Nothing else ends the polling, because even a bug is no reason to stop selling. Raises AnotherDeskError when another
    desk has taken over.
    """
    # Telegram has answered the start, which asks whose the token is (bot/desk/start.py).
    outage = Outage(timings, answered_at=time.monotonic())
    while True:
        try:
            await intake.poll_once()
        except TELEGRAM_ERRORS as error:
            if isinstance(error, TelegramConflictError):
                await conflicts.note(error.message)
            await outage.wait(error)
        except AnotherDeskError:
            raise
        except Exception as error:  # noqa: BLE001 - the offset has not moved: the batch comes again
            logger.opt(exception=error).error("a batch of updates could not be taken, trying again")
            await asyncio.sleep(timings.bug_pause_seconds)
        else:
            outage.over()
