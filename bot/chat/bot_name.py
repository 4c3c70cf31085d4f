"""The bot's @username, which its owner may change in @BotFather at any time, and commands that name the bot."""

from datetime import datetime, timedelta
from typing import Any, Final

from aiogram import Bot
from aiogram.filters import Command, CommandObject
from aiogram.filters.command import CommandException
from aiogram.types import Message

from db.clock import Clock
from payments.telegram_errors import TELEGRAM_ERRORS

KNOWN_FOR: Final = timedelta(days=1)
"""The time after which the desk asks for the name again; it also asks after the clock was set back."""
DOUBTED_AFTER: Final = timedelta(minutes=1)
"""The shortest time between two questions for the name: a mention of another name may be the new one."""


class BotName:
    """Remembers the bot's @username for a day, because aiogram's `Bot.me` remembers it as long as the process lives."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._name: str | None = None
        self._asked_at: datetime | None = None

    async def current(self, bot: Bot) -> str:
        """Return the bot's @username, without the @. Raises aiogram's errors until it knows a name."""
        return await self._known(bot, KNOWN_FOR)

    async def is_ours(self, bot: Bot, mention: str) -> bool:
        """Tell whether a command's mention, without the @, is the bot's @username, in any case; raises as current."""
        if mention.lower() == (await self.current(bot)).lower():
            return True
        return mention.lower() == (await self._known(bot, DOUBTED_AFTER)).lower()

    async def _known(self, bot: Bot, longest: timedelta) -> str:
        now = self._clock()
        if self._name is None or self._asked_at is None or not timedelta() <= now - self._asked_at < longest:
            self._asked_at = now
            try:
                self._name = (await bot.get_me()).username or ""
            except TELEGRAM_ERRORS:
                if self._name is None:
                    raise
        return self._name


class CommandHere(Command):
    """aiogram's filter for a command to this bot, by the @username that the bot has now."""

    async def __call__(self, message: Message, bot: Bot, bot_name: BotName) -> bool | dict[str, Any]:  # type: ignore[override] # aiogram hands in what a filter's parameters name
        """Return the command addressed to this bot as `command`, or False."""
        text = message.text or message.caption
        if not text:
            return False
        try:
            command = self._read(text)
            if command.mention and not await bot_name.is_ours(bot, command.mention):
                return False
        except CommandException:
            return False
        return {"command": command}

    def _read(self, text: str) -> CommandObject:
        command = self.extract_command(text)
        self.validate_prefix(command=command)
        read: CommandObject = self.do_magic(command=self.validate_command(command))
        return read
