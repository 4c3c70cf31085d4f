"""A clock that follows the sandbox's: moved there, it moves here too. Never beside the real Telegram."""

import asyncio
from datetime import datetime, timedelta
from typing import Final

import aiohttp
from loguru import logger

from db.clock import utc_now

ASK_SECONDS: Final = 0.5
ANSWER_SECONDS: Final = 5


class FollowedClock:
    """The machine's clock plus the sandbox's offset, which is asked for twice a second."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._offset = timedelta()

    def __call__(self) -> datetime:
        """Return the sandbox's present, aware, in UTC."""
        return utc_now() + self._offset

    async def begin(self) -> None:
        """Ask once, before anything asks for the time; a sandbox that is away is asked again later."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)) as session:
            await self._ask_patiently(session)

    async def follow(self) -> None:
        """Ask for the offset until cancelled; a sandbox that is away leaves it as it was."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)) as session:
            while True:
                await self._ask_patiently(session)
                await asyncio.sleep(ASK_SECONDS)

    async def _ask_patiently(self, session: aiohttp.ClientSession) -> None:
        try:
            await self.ask(session)
        except (aiohttp.ClientError, TimeoutError) as error:
            logger.debug("the sandbox's clock does not answer: {}", type(error).__name__)

    async def ask(self, session: aiohttp.ClientSession) -> None:
        """Ask once, the sandbox's control operation `clock`. Raises aiohttp.ClientError, and TimeoutError."""
        async with session.get(self._url, raise_for_status=True) as answer:
            said = await answer.json()
        self._offset = timedelta(seconds=said["result"]["offset_seconds"])
