"""Owed messages of the outbox, and their delivery before a sandbox."""

from typing import Any, Final

from aiogram import Bot
from sqlalchemy import select

from bot.sending.outbox import NOTE_SECONDS, UNDER_WAY_MAX, Outbox
from bot.sending.pace import Pace
from bot.settings.values import MESSAGES_PER_SECOND_MAX
from db.clock import Clock
from db.engine import Database
from db.tables import OutboxMessage
from payments.notices import Admins, Notice, owe
from payments.pause import Pause
from sandbox.client import SandboxClient
from tests.support.clock import FakeClock
from tests.support.timings import RESTLESS

ANN: Final = 7001
BOB: Final = 7002
ADMIN: Final = 7003
NOBODY: Final = 7999
OLD_GROUP: Final = -7000


class Owed:
    """Messages that are owed, their delivery, and what came of them."""

    def __init__(self, client: SandboxClient, bot: Bot, database: Database, clock: FakeClock) -> None:
        self.client = client
        self.database = database
        self.clock = clock
        self._bot = bot
        self.outbox = self.next_outbox()
        self.broken: set[str] = set()
        self.languages: dict[str, str | None] = {}

    def next_outbox(self, bot: Bot | None = None) -> Outbox:
        """Return the outbox of the next process, one whose chats need no rest."""
        return self.make_outbox(Pace(self.clock, Pause(self.clock), RESTLESS, MESSAGES_PER_SECOND_MAX), bot=bot)

    def make_outbox(
        self,
        pace: Pace,
        clock: Clock | None = None,
        bot: Bot | None = None,
        *,
        idle_seconds: float = 10,
        under_way_max: int = UNDER_WAY_MAX,
        note_seconds: float = NOTE_SECONDS,
    ) -> Outbox:
        return Outbox(
            bot or self._bot,
            self.database,
            self._render,
            clock or self.clock,
            lambda *_: None,
            Admins((ADMIN, BOB), group_id=ADMIN),
            pace,
            idle_seconds,
            under_way_max=under_way_max,
            note_seconds=note_seconds,
        )

    def _render(self, notice: Notice, facts: dict[str, Any], language_code: str | None) -> str:
        if notice is Notice.UNDELIVERED:
            return f"undelivered to {facts['reader']}: {facts['about']}: {facts['why']}"
        text: str = facts["text"]
        if text in self.broken:
            raise KeyError(text)
        self.languages[text] = language_code
        return text

    async def owe(
        self,
        chat_id: int,
        *texts: str,
        again: bool = False,
        event_id: str | None = None,
        notice: Notice = Notice.PARKED,
    ) -> None:
        """Owe a chat texts, each of an event of its own; `again`: of one that it was told of before."""
        async with self.database.transaction() as session:
            for text in texts:
                await owe(
                    session,
                    notice,
                    event_id=event_id or f"{chat_id}:{text.removesuffix(' anew')}",
                    chat_id=chat_id,
                    facts={"text": text},
                    now=self.clock(),
                    again=again,
                )

    async def deliver(self) -> None:
        """Deliver until nothing is due."""
        while await self.outbox.deliver_once():
            pass

    async def told(self, chat_id: int) -> list[str]:
        return [message.text() for message in await self.client.chat(chat_id)]

    async def rows(self) -> list[OutboxMessage]:
        async with self.database.reading() as session:
            return list(await session.scalars(select(OutboxMessage).order_by(OutboxMessage.id)))
