from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import stamina
from aiogram import Bot
from aiogram.exceptions import TelegramNetworkError

from bot.chat.commands import ATTEMPTS_MAX, register_commands, register_patiently
from sandbox.faults import FaultKind
from sandbox.server import SandboxServer, running_sandbox
from tests.support.bots import talking_bot
from tests.support.logs import logged

EVERYBODYS = ["buy", "status", "history", "terms", "privacy", "paysupport", "help"]
ADMINS = ["buy", "status", "history", "refund", "pending", "retry", "report", "terms", "privacy", "paysupport", "help"]


@pytest_asyncio.fixture
async def server() -> AsyncIterator[SandboxServer]:
    async with running_sandbox() as server:
        yield server


@pytest_asyncio.fixture
async def bot(server: SandboxServer) -> AsyncIterator[Bot]:
    async with talking_bot(server.url, server.token) as bot:
        yield bot


async def _menu(server: SandboxServer, user_id: int, chat_id: int | None = None) -> list[str]:
    return [command["command"] for command in await server.client.commands(user_id, chat_id)]


@pytest.mark.criterion("S12")
async def test_the_admins_menu_is_seen_by_admins_only(server: SandboxServer, bot: Bot) -> None:
    buyer = await server.client.add_person("Ann")
    admin = await server.client.add_person("Max", started=True)
    group = await server.client.add_group("Desk", member_ids=[buyer.id], admin_ids=[admin.id])
    elsewhere = await server.client.add_group("Elsewhere", member_ids=[buyer.id], admin_ids=[admin.id])
    await register_commands(bot, [admin.id], group.id)
    assert await _menu(server, buyer.id) == EVERYBODYS
    assert await _menu(server, admin.id) == ADMINS
    assert await _menu(server, admin.id, group.id) == ["history", "refund", "pending", "retry", "report", "help"]
    assert await _menu(server, admin.id, elsewhere.id) == []


async def test_chats_that_telegram_does_not_know_stop_nothing(server: SandboxServer, bot: Bot) -> None:
    admin = await server.client.add_person("Max", started=True)
    group = await server.client.add_group("Desk", admin_ids=[admin.id])
    await server.client.remove_bot(group.id)
    await register_commands(bot, [4242, admin.id], group.id)
    assert await _menu(server, admin.id) == ADMINS


async def test_telegram_away_is_the_callers_to_wait_out(server: SandboxServer, bot: Bot) -> None:
    await server.client.add_fault(FaultKind.CUT_BEFORE, "setMyCommands")
    with pytest.raises(TelegramNetworkError):
        await register_commands(bot, [], None)


async def test_beside_the_poll_it_is_tried_again_and_given_up_in_the_end(server: SandboxServer, bot: Bot) -> None:
    buyer = await server.client.add_person("Ann")
    await server.client.add_fault(FaultKind.SERVER_ERROR, "setMyCommands")
    # Without the pauses between the tries.
    with stamina.set_testing(True, attempts=ATTEMPTS_MAX):
        await register_patiently(bot, [], None)
        assert await _menu(server, buyer.id) == EVERYBODYS
        await server.client.add_fault(FaultKind.SERVER_ERROR, "setMyCommands", count=ATTEMPTS_MAX + 1)
        with logged("ERROR") as records:
            await register_patiently(bot, [], None)
    assert [record["message"] for record in records] == ["the desk gives up the menus of commands until the next start"]
    assert len(await server.client.calls("setMyCommands")) == 2 + ATTEMPTS_MAX
