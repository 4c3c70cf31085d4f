"""The pace of messages: a chat rests after each message, and all rest in a pause that Telegram asks for."""

from datetime import datetime, timedelta

from db.clock import Clock
from db.timings import PRODUCTION, Timings
from payments.pause import Pause


class Pace:
    """The pace of messages, by the given clock.

    All that send to Telegram share `pause`.
    """

    def __init__(self, clock: Clock, pause: Pause, timings: Timings = PRODUCTION) -> None:
        self.pause = pause
        self._clock = clock
        self._timings = timings
        # The chats of the latest messages; `left_seconds` forgets those past the longest rest.
        self._written: dict[int, datetime] = {}

    def wrote(self, chat_id: int) -> None:
        """Note that a message goes to a chat now."""
        self._written[chat_id] = self._clock()

    def left_seconds(self, chat_id: int) -> float:
        """Return the seconds for which a chat has still to rest; 0 or less: a message may go."""
        now = self._clock()
        longest = timedelta(seconds=max(self._timings.chat_rest_seconds, self._timings.group_rest_seconds))
        # A time ahead of the clock is from before somebody set the clock back.
        self._written = {chat: at for chat, at in self._written.items() if timedelta(0) <= now - at < longest}
        written_at = self._written.get(chat_id)
        rest_left = 0 if written_at is None else self._rest_seconds(chat_id) - (now - written_at).total_seconds()
        return max(self.pause.chat_seconds_left(chat_id), rest_left)

    def _rest_seconds(self, chat_id: int) -> float:
        """Return the seconds for which a chat rests after a message. Groups' ids are negative (Bot API, Chat)."""
        return self._timings.chat_rest_seconds if chat_id > 0 else self._timings.group_rest_seconds
