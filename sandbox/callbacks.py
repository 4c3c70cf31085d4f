"""Pressed buttons (callback queries), and the bot's answer to each."""

from dataclasses import dataclass
from random import Random

from sandbox.clock import Timer, VirtualClock
from sandbox.errors import ControlError, bad_request
from sandbox.feed import Feed
from sandbox.messages import ChatMessage
from sandbox.people import Person
from sandbox.updates import QUERY_LIFE, UpdateQueue

ANSWER_LENGTH_MAX = 200


@dataclass(slots=True)
class Press:
    """A pressed button. While neither `answered` nor `expired`, the person sees it load."""

    id: str
    user_id: int
    chat_id: int
    message_id: int
    data: str
    answered: bool = False
    expired: bool = False
    text: str = ""
    show_alert: bool = False
    url: str = ""


class Callbacks:
    """All pressed buttons by callback query id."""

    def __init__(self, clock: VirtualClock, queue: UpdateQueue, feed: Feed, random: Random) -> None:
        self.by_id: dict[str, Press] = {}
        self._clock = clock
        self._queue = queue
        self._feed = feed
        self._random = random
        self._timers: dict[str, Timer] = {}

    def press(self, person: Person, found: ChatMessage, data: str) -> Press:
        """Record a pressed button with callback_data; its callback query lives 150 seconds."""
        query_id = str(self._random.randrange(1 << 62, 1 << 63))
        press = Press(query_id, person.id, found.chat_id, found.message_id, data)
        self.by_id[query_id] = press
        self._timers[query_id] = self._clock.call_at(self._clock.now() + QUERY_LIFE, lambda: self._expire(press))
        query = {
            "id": query_id,
            "from": person.user(),
            "message": found.message,
            "chat_instance": str(abs(found.chat_id) * 7919),
            "data": data,
        }
        self._queue.push("callback_query", query, QUERY_LIFE)
        self._feed.publish("press", query_id=query_id)
        return press

    def find(self, *, query_id: str) -> Press:
        """Find a pressed button by its callback query; raises ControlError."""
        if query_id not in self.by_id:
            raise ControlError(f"there is no callback query {query_id}")
        return self.by_id[query_id]

    def answer(self, query_id: str, text: str, url: str, *, show_alert: bool) -> None:
        """Take the bot's answer to a callback query; raises ApiError for an unknown or expired query.

        A second answer succeeds and changes nothing that the person sees: a guess.
        """
        press = self.by_id.get(query_id)
        if press is None or press.expired:
            raise bad_request("QUERY_ID_INVALID")
        if len(text) > ANSWER_LENGTH_MAX:
            raise bad_request("MESSAGE_TOO_LONG")
        if not press.answered:
            press.answered, press.text, press.show_alert, press.url = True, text, show_alert, url
            self._timers.pop(query_id).cancel()
            self._feed.publish("press", query_id=query_id)

    def _expire(self, press: Press) -> None:
        press.expired = True
        self._feed.publish("press", query_id=press.id)
