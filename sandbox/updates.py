"""The queue of the bot's updates, as TDLib's TQueue and Client.cpp keep it for getUpdates."""

import json
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING

from sandbox.clock import VirtualClock
from sandbox.faults import Faults
from sandbox.feed import Feed
from sandbox.shapes import Json

if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGE_LIFE = timedelta(hours=24)
QUERY_LIFE = timedelta(seconds=150)
QUIET_WEEK = timedelta(days=7)
QUEUE_MAX = 100_000
PAST_KEPT = 10_000
ANSWER_BYTES_MAX = 1 << 22
FIRST_ID_RANGE = (2_000_001, 1_000_000_000)
OFFSET_AHEAD_MAX = 10

NOT_BY_DEFAULT = frozenset({"chat_member", "message_reaction", "message_reaction_count"})
KINDS = frozenset(
    {
        "message",
        "edited_message",
        "channel_post",
        "edited_channel_post",
        "business_connection",
        "business_message",
        "edited_business_message",
        "deleted_business_messages",
        "guest_message",
        "message_reaction",
        "message_reaction_count",
        "inline_query",
        "chosen_inline_result",
        "callback_query",
        "shipping_query",
        "pre_checkout_query",
        "purchased_paid_media",
        "poll",
        "poll_answer",
        "my_chat_member",
        "chat_member",
        "chat_join_request",
        "chat_boost",
        "removed_chat_boost",
        "managed_bot",
        "subscription",
        "stopped_message_generation",
    }
)
DEFAULT_KINDS = KINDS - NOT_BY_DEFAULT


class Fate(StrEnum):
    """The fate of an update."""

    WAITING = "waiting"
    CONFIRMED = "confirmed"
    EXPIRED = "expired"
    FORGOTTEN = "forgotten"
    """Cleared by a negative offset or deleteWebhook."""
    LOST = "lost"
    """By a fault."""
    NOT_ALLOWED = "not_allowed"


@dataclass(slots=True)
class UpdateRecord:
    """An update with its fate: `id` is 0 when it never came into the queue."""

    id: int
    kind: str
    update: Json
    created_at: datetime
    expires_at: datetime
    bytes_long: int
    fate: Fate = Fate.WAITING


class UpdateQueue:
    """The updates that wait for the bot, and the last 10,000 that no longer do.

    `next_id` is the id of the next update, `last_push` the moment of the latest one.
    """

    def __init__(self, clock: VirtualClock, feed: Feed, faults: Faults, random: Random) -> None:
        self.allowed = DEFAULT_KINDS
        self._known = KINDS
        self.past: deque[UpdateRecord] = deque(maxlen=PAST_KEPT)
        self.on_push: Callable[[], None] = lambda: None
        self._clock = clock
        self._feed = feed
        self._faults = faults
        self._random = random
        self._waiting: dict[int, UpdateRecord] = {}
        self.next_id = random.randint(*FIRST_ID_RANGE)
        self.last_push = clock.now()
        self._first_expiry: datetime | None = None

    def push(self, kind: str, body: Json, life: timedelta) -> None:
        """Queue an update of a kind, unless allowed_updates leaves it out or a fault takes it."""
        fault = self._faults.take_update({kind, *body})
        if kind not in self.allowed:
            self._archive(self._record(0, {kind: body}, kind, life), Fate.NOT_ALLOWED)
        elif fault is not None and fault.dropped:
            self._archive(self._record(0, {kind: body}, kind, life), Fate.LOST)
        else:
            for _ in range(1 if fault is None else 2):
                self._append({kind: body}, kind, life)

    def push_raw(self, *, update: Json) -> UpdateRecord:
        """Queue any object as an update with an update_id, whatever allowed_updates says."""
        kind = next((name for name in update if name != "update_id"), "")
        return self._append({name: value for name, value in update.items() if name != "update_id"}, kind, MESSAGE_LIFE)

    def allow(self, text: str) -> None:
        """Apply an allowed_updates argument, as Client.cpp's get_allowed_update_types reads it.

        Absent, no JSON, no array or an element that is no string: nothing changes. An empty array or only unknown
        names: the default. Otherwise it holds until the next one, also for other processes.
        """
        try:
            names = json.loads(text)
        except (ValueError, RecursionError):
            return
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return
        self.allowed = self._known.intersection(name.lower() for name in names) or DEFAULT_KINDS & self._known

    def know_subscriptions(self, are_known: bool) -> None:  # noqa: FBT001 - one thing that a server knows or does not
        """Set whether the queue knows the `subscription` updates of Bot API 10.2.

        A server without them forgets that the bot allowed them.
        """
        self._known = KINDS if are_known else KINDS - {"subscription"}
        self.allowed &= self._known

    def restore(self, waiting: list[UpdateRecord], next_id: int, last_push: datetime) -> None:
        """Restore the queue of updates of an earlier run."""
        self._waiting = {record.id: record for record in waiting}
        self._first_expiry = min((record.expires_at for record in waiting), default=None)
        self.next_id, self.last_push = next_id, last_push

    def waiting(self) -> list[UpdateRecord]:
        """Return the updates that the bot has not confirmed, oldest first."""
        self._expire()
        return list(self._waiting.values())

    def head(self) -> int:
        """Return the id of the oldest waiting update, or of the next one."""
        self._expire()
        return next(iter(self._waiting), self.next_id)

    def take(self, offset: int, limit: int) -> list[Json]:
        """Confirm all updates before `offset` and return up to `limit` from there (TQueue.get).

        For an offset more than 10 above the next id, it returns updates from the head.
        """
        head = self.head()
        if offset > self.next_id + OFFSET_AHEAD_MAX:
            offset = head
        confirmed = [number for number in self._waiting if number < offset]
        self._remove(confirmed, Fate.CONFIRMED)
        taken: list[Json] = []
        bytes_left = ANSWER_BYTES_MAX
        for record in self._waiting.values():
            bytes_left -= 50 + record.bytes_long
            if len(taken) == limit or bytes_left <= 0:
                break
            taken.append(record.update)
        return taken

    def keep_last(self, count: int) -> None:
        """Drop all waiting updates but the last `count` (a negative offset)."""
        waiting = self.waiting()
        self._remove([record.id for record in waiting[: max(len(waiting) - count, 0)]], Fate.FORGOTTEN)

    def _append(self, content: Json, kind: str, life: timedelta) -> UpdateRecord:
        self._expire()
        now = self._clock.now()
        if now - self.last_push >= QUIET_WEEK:
            self.next_id = self._random.randint(*FIRST_ID_RANGE)
        self.last_push = now
        record = self._record(self.next_id, content, kind, life)
        if len(self._waiting) >= QUEUE_MAX:
            self._archive(record, Fate.LOST)
            return record
        self._waiting[record.id] = record
        self.next_id += 1
        if self._first_expiry is None or record.expires_at < self._first_expiry:
            self._first_expiry = record.expires_at
        self._feed.publish("update", update_id=record.id, kind=kind)
        self.on_push()
        return record

    def _record(self, number: int, content: Json, kind: str, life: timedelta) -> UpdateRecord:
        now = self._clock.now()
        update = {"update_id": number, **content}
        return UpdateRecord(number, kind, update, now, now + life, len(json.dumps(update)))

    def _expire(self) -> None:
        now = self._clock.now()
        if self._first_expiry is None or self._first_expiry >= now:
            return
        self._remove([record.id for record in self._waiting.values() if record.expires_at < now], Fate.EXPIRED)
        self._first_expiry = min((record.expires_at for record in self._waiting.values()), default=None)

    def _remove(self, numbers: list[int], fate: Fate) -> None:
        for number in numbers:
            self._archive(self._waiting.pop(number), fate)

    def _archive(self, record: UpdateRecord, fate: Fate) -> None:
        record.fate = fate
        self.past.append(record)
        self._feed.publish(fate.value, update_id=record.id, kind=record.kind)
