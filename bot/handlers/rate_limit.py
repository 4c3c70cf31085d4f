"""The rate limit of one person's messages: a polite word once, then silence. Money and pre-checkouts never count."""

import enum
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aiogram.types import TelegramObject, Update, User

from bot.chat.talk import answer
from bot.chat.words import Words
from db.clock import Clock

BURST: Final = 20
"""Messages and button presses in a row that the bot answers."""
PER_SECOND: Final = 0.5
"""Further messages that each second of rest allows."""
USERS_MAX: Final = 10_000
"""Users whose allowance is kept, the latest ones."""


class Admission(enum.Enum):
    """The fate of one more message."""

    ANSWER = enum.auto()
    WARN = enum.auto()
    IGNORE = enum.auto()


@dataclass(slots=True)
class _Allowance:
    left: float
    counted_at: datetime
    is_warned: bool = False


class RateLimit:
    """Counts the messages of each user, by the given clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._users: OrderedDict[int, _Allowance] = OrderedDict()

    def admit(self, user_id: int) -> Admission:
        """Count a message against its user's rate limit. A warning comes anew after half the burst is back."""
        now = self._clock()
        allowance = self._users.pop(user_id, None) or _Allowance(BURST, now)
        self._users[user_id] = allowance
        if len(self._users) > USERS_MAX:
            self._users.popitem(last=False)
        # A clock set back takes nothing away.
        rested_seconds = max(0.0, (now - allowance.counted_at).total_seconds())
        allowance.left = min(BURST, allowance.left + rested_seconds * PER_SECOND)
        allowance.counted_at = now
        if allowance.left > BURST / 2:
            allowance.is_warned = False
        if allowance.left >= 1:
            allowance.left -= 1
            return Admission.ANSWER
        if allowance.is_warned:
            return Admission.IGNORE
        allowance.is_warned = True
        return Admission.WARN

    async def __call__(
        self,
        handler: Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]],
        event: TelegramObject,
        data: dict[str, Any],
    ) -> Any:
        """Handle an update, warn its sender, or drop it; the middleware that hands in the words has run before."""
        sender: User | None = data.get("event_from_user")
        if not isinstance(event, Update) or sender is None or event.pre_checkout_query or data.get("fact"):
            return await handler(event, data)
        admission = self.admit(_who(event, sender))
        if admission is Admission.ANSWER:
            return await handler(event, data)
        if admission is Admission.WARN:
            await _warn(event, data["words"])
        return None


def _who(update: Update, sender: User) -> int:
    """Return the id whose rate limit an update counts against.

    It is the group's for an anonymous admin, because all anonymous admins of all groups share one sender (Bot API,
    Message: sender_chat).
    """
    behind = update.message.sender_chat if update.message is not None else None
    return sender.id if behind is None else behind.id


async def _warn(update: Update, words: Words) -> None:
    if update.callback_query is not None:
        await update.callback_query.answer(words.plain("toast.slow_down"), show_alert=True)
    elif update.message is not None:
        await answer(update.message, words.say("slow_down"))
