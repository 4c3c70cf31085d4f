"""How often a chat may be written to, and that nobody is written to in a pause that Telegram asks for."""

from datetime import datetime, timedelta

from db.clock import Clock
from db.timings import PRODUCTION, Timings
from payments.pause import Pause


class Pace:
    """Says how long to wait before a message, by the clock that is handed in.

    `pause` is shared with all others that send to Telegram.
    """

    def __init__(self, clock: Clock, pause: Pause, timings: Timings = PRODUCTION) -> None:
        self.pause = pause
        self._clock = clock
        self._timings = timings
        # The chats that were written to a moment ago, no more than are written to in the longest rest.
        self._written: dict[int, datetime] = {}

    def wrote(self, chat_id: int) -> None:
        """Note that a chat is written to now."""
        self._written[chat_id] = self._clock()

    def left_seconds(self, chat_id: int) -> float:
        """Return how long the chat may not be written to yet; 0 or less: it may."""
        now = self._clock()
        longest = timedelta(seconds=max(self._timings.chat_rest_seconds, self._timings.group_rest_seconds))
        # What lies ahead was written before the clock was set back.
        self._written = {chat: at for chat, at in self._written.items() if timedelta(0) <= now - at < longest}
        written_at = self._written.get(chat_id)
        rest_left = 0 if written_at is None else self._rest_seconds(chat_id) - (now - written_at).total_seconds()
        return max(self.pause.chat_seconds_left(chat_id), rest_left)

    def _rest_seconds(self, chat_id: int) -> float:
        """Return how long a chat is left alone after a message. The ids of groups are negative (Bot API, Chat)."""
        return self._timings.chat_rest_seconds if chat_id > 0 else self._timings.group_rest_seconds
