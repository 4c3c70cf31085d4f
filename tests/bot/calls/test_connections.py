"""Connections to Telegram: a hundred messages that hang hold up no buyer."""

import asyncio

from aiogram import Bot
from aiogram.client.telegram import TelegramAPIServer

from bot.calls.telegram_session import TelegramSession
from bot.sending.outbox import UNDER_WAY_MAX
from sandbox.faults import FaultKind
from sandbox.server import running_sandbox
from tests.support.waiting import WAIT_SECONDS, until


async def test_call_beside_as_many_hanging_messages_as_the_outbox_sends_is_answered() -> None:
    async with running_sandbox() as server:
        session = TelegramSession(None, lambda text: text, api=TelegramAPIServer.from_base(server.url))
        bot = Bot(server.token, session=session)
        ann = await server.client.add_person("Ann", started=True)
        await server.client.add_fault(FaultKind.HOLD, "sendMessage", count=UNDER_WAY_MAX)
        sending = [asyncio.create_task(bot.send_message(ann.id, "hello")) for _ in range(UNDER_WAY_MAX)]

        async def are_held() -> bool:
            return (await server.client.faults()).held == UNDER_WAY_MAX

        try:
            await until(are_held)
            async with asyncio.timeout(WAIT_SECONDS):
                await bot.get_me()
            await server.client.release_holds()
            await asyncio.gather(*sending)
        finally:
            for call in sending:
                call.cancel()
            await (await session.create_session()).close()
