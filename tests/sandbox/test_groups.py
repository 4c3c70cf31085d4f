"""Groups: ordinary members, anonymous administrators, a bot that was thrown out."""

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest, TelegramForbiddenError
from aiogram.types import BotCommand, BotCommandScopeAllPrivateChats, BotCommandScopeChat, BotCommandScopeChatMember

from sandbox.client import SandboxClient
from sandbox.people import Group, Person
from sandbox.remote.transport import SandboxError


@pytest.fixture
async def group(client: SandboxClient, ann: Person, ben: Person) -> Group:
    return await client.add_group("Desk", admin_ids=[ann.id], member_ids=[ben.id])


async def test_a_member_writes_in_a_group(bot: Bot, client: SandboxClient, group: Group, ben: Person) -> None:
    await client.send_text(ben.id, "/pending@sandbox_bot", chat_id=group.id)
    [update] = await bot.get_updates()
    message = update.message
    assert message is not None
    assert message.from_user is not None
    assert (message.chat.id, message.chat.type, message.chat.title) == (group.id, "supergroup", "Desk")
    assert message.from_user.id == ben.id
    assert message.sender_chat is None
    assert (await bot.send_message(group.id, "nothing")).chat.id == group.id


async def test_an_anonymous_administrator_is_the_group(
    bot: Bot, client: SandboxClient, group: Group, ann: Person, ben: Person
) -> None:
    await client.send_text(ann.id, "/refund x", chat_id=group.id, anonymous=True)
    [update] = await bot.get_updates()
    message = update.message
    assert message is not None
    assert message.from_user is not None
    assert message.sender_chat is not None
    assert (message.from_user.id, message.from_user.username) == (1087968824, "GroupAnonymousBot")
    assert message.sender_chat.id == group.id
    with pytest.raises(SandboxError, match="no administrator"):
        await client.send_text(ben.id, "x", chat_id=group.id, anonymous=True)


async def test_a_stranger_is_not_in_the_group(client: SandboxClient, group: Group) -> None:
    eve = await client.add_person("Eve")
    with pytest.raises(SandboxError, match="no member"):
        await client.send_text(eve.id, "x", chat_id=group.id)


@pytest.mark.parametrize("kind", ["group", "supergroup"])
async def test_a_bot_that_was_thrown_out(kind: str, bot: Bot, client: SandboxClient) -> None:
    group = await client.add_group("Desk", kind="group" if kind == "group" else "supergroup")
    await client.remove_bot(group.id)
    with pytest.raises(TelegramForbiddenError, match=f"Forbidden: bot was kicked from the {kind} chat"):
        await bot.send_message(group.id, "x")


async def test_everyone_is_offered_their_own_commands(
    bot: Bot, client: SandboxClient, group: Group, ann: Person, ben: Person
) -> None:
    def named(*names: str) -> list[BotCommand]:
        return [BotCommand(command=name, description=f"the {name}") for name in names]

    await bot.set_my_commands(named("start"))
    await bot.set_my_commands(named("buy"), scope=BotCommandScopeAllPrivateChats())
    await bot.set_my_commands(named("kaufen"), scope=BotCommandScopeAllPrivateChats(), language_code="de")
    await bot.set_my_commands(named("refund"), scope=BotCommandScopeChat(chat_id=ann.id))
    await bot.set_my_commands(named("pending"), scope=BotCommandScopeChatMember(chat_id=group.id, user_id=ann.id))
    eva = await client.add_person("Eva", language_code="de")

    async def offered(user_id: int, chat_id: int | None = None) -> list[str]:
        return [command["command"] for command in await client.commands(user_id, chat_id)]

    assert await offered(ann.id) == ["refund"]
    assert await offered(ben.id) == ["buy"]
    assert await offered(eva.id) == ["kaufen"]
    assert await offered(ann.id, group.id) == ["pending"]
    assert await offered(ben.id, group.id) == ["start"]
    scope = BotCommandScopeChat(chat_id=ann.id)
    assert [one.command for one in await bot.get_my_commands(scope=scope)] == ["refund"]
    await bot.delete_my_commands(scope=scope)
    assert await bot.get_my_commands(scope=scope) == []
    assert await offered(ann.id) == ["buy"]


@pytest.mark.parametrize(
    ("command", "description", "complaint"),
    [
        ("/", "x", "command must be non-empty"),
        ("x" * 33, "x", "command length must not exceed 32"),
        ("buy", " ", "command description must be non-empty"),
        ("Buy", "x", "BOT_COMMAND_INVALID"),
    ],
)
async def test_commands_that_are_refused(command: str, description: str, complaint: str, bot: Bot) -> None:
    with pytest.raises(TelegramBadRequest, match=complaint):
        await bot.set_my_commands([BotCommand(command=command, description=description)])
