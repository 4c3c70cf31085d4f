"""The pause that Telegram asks for with an error 429, of one chat or of the whole bot: nobody sends during it."""

from datetime import datetime, timedelta
from typing import Final

from db.clock import Clock

SECONDS_MAX: Final = 3600
"""The longest pause that the desk keeps; Telegram asks again for the rest of a longer one."""


class Pause:
    """Keeps the end of Telegram's pause, by the clock handed in; outbox, refunds and answers in chats share it.

    Telegram asks for a pause with an error 429 and `retry_after` (Bot API, ResponseParameters). One chat may pause
    alone.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: datetime | None = None
        # The one chat that pauses alone, and its pause; a second such chat makes the whole bot pause.
        self._chat: tuple[int | str, Pause] | None = None

    def ask(self, seconds: float) -> datetime:
        """Begin a pause, or prolong the one that lasts; return when it ends."""
        until = self._clock() + timedelta(seconds=min(seconds, SECONDS_MAX))
        self._until = max(until, self.until or until)
        return self._until

    def ask_of_chat(self, chat_id: int | str, seconds: float) -> None:
        """Begin a pause of one chat, or of the whole bot if another chat pauses: then the bot is too busy."""
        if self._chat is None or self._chat[1].until is None:
            self._chat = chat_id, Pause(self._clock)
        resting_id, pause = self._chat
        (pause if resting_id == chat_id else self).ask(seconds)

    def chat_seconds_left(self, chat_id: int | str | None) -> float:
        """Return the seconds for which the pause of a chat, or of the whole bot, still lasts; 0: there is none."""
        alone = self._chat[1].seconds_left if self._chat is not None and self._chat[0] == chat_id else 0
        return max(self.seconds_left, alone)

    @property
    def until(self) -> datetime | None:
        """The end of the pause that lasts; None: there is none."""
        if self._until is not None and not self._until - timedelta(seconds=SECONDS_MAX) <= self._clock() < self._until:
            # The pause is over, or somebody has set the clock back.
            self._until = None
        return self._until

    @property
    def seconds_left(self) -> float:
        """The seconds for which the pause still lasts; 0: there is none."""
        until = self.until
        return (until - self._clock()).total_seconds() if until else 0
