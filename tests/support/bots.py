"""A real aiogram Bot, before any Bot API server of a test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiogram import Bot
from aiogram.client.default import DefaultBotProperties
from aiogram.client.telegram import TelegramAPIServer

import tests.support.made_once  # noqa: F401 - what takes the most time of a call
from bot.calls.bounded_session import BoundedSession


@asynccontextmanager
async def talking_bot(url: str, token: str, default: DefaultBotProperties | None = None) -> AsyncIterator[Bot]:
    """Open a bot that talks to the server at `url`."""
    session = BoundedSession(api=TelegramAPIServer.from_base(url))
    try:
        yield Bot(token, session=session, default=default)
    finally:
        if session._session is not None:
            # aiogram's own close sleeps 250 ms for TLS, which is not here.
            await session._session.close()
