"""The pace of messages: so many a second, a rest of each chat after its message, the pauses that Telegram asks for."""

from datetime import datetime, timedelta
from typing import Final

from aiolimiter import AsyncLimiter

from bot.settings import MESSAGES_PER_SECOND
from db.clock import Clock
from db.timings import PRODUCTION, Timings
from payments.pause import Pause

_BURST_SECONDS: Final = 0.2
"""After a rest the messages of so long go at once: with 25 a second no second has more than Telegram's 30."""


class Pace:
    """The pace of messages, by the given clock.

    All that send to Telegram share `pause`; a message goes inside of `limiter`.
    """

    def __init__(
        self,
        clock: Clock,
        pause: Pause,
        timings: Timings = PRODUCTION,
        messages_per_second: int = MESSAGES_PER_SECOND,
    ) -> None:
        self.pause = pause
        self.messages_per_second = messages_per_second
        burst = max(1.0, messages_per_second * _BURST_SECONDS)
        self.limiter = AsyncLimiter(burst, burst / messages_per_second)
        self._clock = clock
        self._timings = timings
        # The chats of the latest messages; `resting_count` forgets those past the longest rest.
        self._written: dict[int, datetime] = {}

    def wrote(self, chat_id: int) -> None:
        """Note that a message goes to a chat now."""
        self._written[chat_id] = self._clock()

    def left_seconds(self, chat_id: int) -> float:
        """Return the seconds for which a chat has still to rest; 0 or less: a message may go."""
        written_at = self._written.get(chat_id)
        rested_seconds = -1.0 if written_at is None else (self._clock() - written_at).total_seconds()
        # A time ahead of the clock is from before somebody set the clock back.
        rest_left = self._rest_seconds(chat_id) - rested_seconds if rested_seconds >= 0 else 0
        return max(self.pause.chat_seconds_left(chat_id), rest_left)

    def resting_count(self) -> int:
        """Return how many chats may still rest or pause alone; forget those past the longest rest."""
        now = self._clock()
        longest = timedelta(seconds=max(self._timings.chat_rest_seconds, self._timings.group_rest_seconds))
        self._written = {chat: at for chat, at in self._written.items() if timedelta(0) <= now - at < longest}
        # One chat may pause alone (payments/pause.py).
        return len(self._written) + 1

    def _rest_seconds(self, chat_id: int) -> float:
        """Return the seconds for which a chat rests after a message. Groups' ids are negative (Bot API, Chat)."""
        return self._timings.chat_rest_seconds if chat_id > 0 else self._timings.group_rest_seconds
