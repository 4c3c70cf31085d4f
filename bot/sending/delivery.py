"""The delivery of one message: renders it, sends it, and sorts Telegram's answer into an outcome."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiogram import Bot
from aiogram.exceptions import ClientDecodeError, TelegramForbiddenError, TelegramMigrateToChat, TelegramRetryAfter
from aiogram.methods import SendMessage
from aiogram.types import InlineKeyboardMarkup
from loguru import logger

from bot.chat.moved_chats import log_moved
from bot.chat.talk import in_topic
from bot.sending.due_messages import DueMessage
from bot.sending.pace import Pace
from payments.notices import REPLIES, Admins, Notice
from payments.telegram_errors import TELEGRAM_ERRORS, Fate, TelegramError, fate_of, in_words, is_refusal

if TYPE_CHECKING:
    from loguru import Logger

UNRENDERED_MAX: Final = 1_000

Render = Callable[[Notice, dict[str, Any], str | None], str]
"""Renders the words of a notice from its facts, in a language (an IETF tag, or None)."""

Keyboard = Callable[[Notice, dict[str, Any], str | None], InlineKeyboardMarkup | None]
"""Renders the buttons below a notice, from the same facts."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Telegram has taken the message."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The message may succeed later: an outage, or a bug in its words."""

    error: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Telegram refuses the message for good; the reader wants it, if `is_wanted`, and has not blocked the bot."""

    error: str
    is_wanted: bool


@dataclass(frozen=True, slots=True)
class Moved:
    """The group has become a supergroup with a new id, and the message goes there."""

    chat_id: int


@dataclass(frozen=True, slots=True)
class Paused:
    """Telegram asks for a pause; that is no failed attempt."""


Outcome = Sent | Failed | Refused | Moved | Paused


class Delivery:
    """Sends single messages, each in its words, its language and its topic."""

    def __init__(self, bot: Bot, render: Render, keyboard: Keyboard, admins: Admins, pace: Pace) -> None:
        self._bot = bot
        self._render = render
        self._keyboard = keyboard
        self._admins = admins
        self._pace = pace
        # Messages that a bug kept from being rendered: they are retried, and newer ones of their chats do not wait.
        self.unrendered: set[int] = set()

    async def deliver(self, message: DueMessage) -> Outcome:
        """Render and send a message; return the outcome. Raises nothing, because a bug in one holds up no other."""
        if message.moved_to is not None:
            return Moved(message.moved_to)
        try:
            about = Notice(message.kind), message.facts, message.language_code
            text, keyboard = self._render(*about), self._keyboard(*about)
            self.unrendered.discard(message.id)
            self._pace.wrote(message.chat_id)
            await self._send(message, text, keyboard)
        except TELEGRAM_ERRORS as error:
            return self._judge(message, error)
        except Exception as error:  # noqa: BLE001 - one notice's bug must not hold up the others
            log_of(message).opt(exception=error).error("a message cannot be rendered")
            self._leave_behind(message)
            return Failed(f"{type(error).__name__}: {error}")
        log_of(message).info("sent: {}", message.kind)
        return Sent()

    def _leave_behind(self, message: DueMessage) -> None:
        """Let newer messages of the chat pass one that cannot be rendered, unless that one is given up now."""
        self.unrendered.discard(message.id)
        if not message.is_last_attempt and len(self.unrendered) < UNRENDERED_MAX:
            self.unrendered.add(message.id)

    async def _send(self, message: DueMessage, text: str, keyboard: InlineKeyboardMarkup | None) -> None:
        async def send(topic_id: int | None) -> None:
            call = SendMessage(chat_id=message.chat_id, text=text, reply_markup=keyboard, message_thread_id=topic_id)
            try:
                await self._bot(call)
            except ClientDecodeError as error:
                # Telegram took the message, whatever its answer looks like.
                if fate_of(error) is not Fate.DONE:
                    raise

        is_alert = message.chat_id in self._admins.chat_ids and message.kind not in REPLIES
        await in_topic(self._admins.topic_id if is_alert else message.topic_id, send)

    def _judge(self, message: DueMessage, error: TelegramError) -> Outcome:
        """Return the outcome of Telegram's error for a message, and begin the pause that it asks for."""
        if isinstance(error, TelegramRetryAfter):
            log_of(message).warning("Telegram asks for a pause of {} s", error.retry_after)
            self._pace.pause.ask(error.retry_after)
            return Paused()
        if isinstance(error, TelegramMigrateToChat):
            if error.migrate_to_chat_id == message.chat_id:
                # A move to the same id would close the message, and every one behind it, unsent.
                return Failed(in_words(error))
            log_moved(error.migrate_to_chat_id)
            return Moved(error.migrate_to_chat_id)
        if is_refusal(error):
            log_of(message).warning("a message cannot be delivered: {}", error.message)
            self.unrendered.discard(message.id)
            return Refused(error.message, is_wanted=not isinstance(error, TelegramForbiddenError))
        return Failed(in_words(error))


def log_of(message: DueMessage) -> "Logger":
    """Return a log whose lines name the chat of a message, and the payment that it is about."""
    return logger.bind(
        charge_id=message.facts.get("charge_id"),
        event_type=message.event_type,
        user_id=message.user_id,
        chat_id=message.chat_id,
        notice=message.kind,
    )
