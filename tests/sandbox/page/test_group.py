"""A group on the page: the chosen member writes, presses and pays in it."""

import pytest
import pytest_asyncio
from aiogram import Bot
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup
from playwright.async_api import Page, expect

from sandbox.client import SandboxClient
from sandbox.people import Group, Person
from sandbox.shapes import ANONYMOUS_ADMIN
from tests.support.browser import Chat

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def gina(client: SandboxClient) -> Person:
    return await client.add_person("Gina", started=True)


@pytest_asyncio.fixture(loop_scope="session")
async def hugo(client: SandboxClient) -> Person:
    return await client.add_person("Hugo", started=True)


async def write_as(page: Page, chat: Chat, name: str) -> None:
    await chat.pane.get_by_title("Who writes").click()
    await page.get_by_role("menu").get_by_text(name, exact=True).click()
    # A menu that closes gives the focus back to its button: a key that is pressed before that would go there.
    await expect(page.get_by_role("menu")).to_have_count(0)
    await expect(chat.pane.get_by_title("Who writes")).to_contain_text(name)


async def group_named(client: SandboxClient, title: str) -> Group:
    async def found() -> Group | None:
        return next((group for group in await client.groups() if group.title == title), None)

    return await client.wait_until(found)


async def test_a_group_is_made_and_its_members_write(
    opened: Page, client: SandboxClient, bot: Bot, gina: Person, hugo: Person
) -> None:
    await opened.get_by_role("button", name="Add a person or a group").click()
    await opened.get_by_text("A new group").click()
    await opened.get_by_role("textbox", name="Title").fill("Readers")
    await opened.get_by_role("combobox", name="Administrators").click()
    await opened.get_by_role("option", name="Gina").click()
    await opened.keyboard.press("Escape")
    await opened.get_by_role("button", name="Add", exact=True).click()
    group = await group_named(client, "Readers")
    chat = Chat(opened, "Readers")

    await chat.say("From Gina")
    await chat.read("From Gina")  # what came of the new group has come: a menu that is open then closes
    await write_as(opened, chat, "Hugo")
    await expect(chat.pane.locator(".sender")).to_have_text("Gina")
    await chat.say("From Hugo")
    await write_as(opened, chat, "Gina, anonymously")
    await chat.say("From the group")
    await client.wait_for(group.id, lambda found: found.text() == "From the group")
    senders = [found.message["from"]["id"] for found in await client.chat(group.id)]
    assert senders == [gina.id, hugo.id, ANONYMOUS_ADMIN["id"]]
    await expect(chat.pane.locator(".sender")).to_have_text(["Hugo", "Readers"])

    await write_as(opened, chat, "Hugo")
    button = InlineKeyboardButton(text="Vote", callback_data="vote")
    await bot.send_message(group.id, "Vote!", reply_markup=InlineKeyboardMarkup(inline_keyboard=[[button]]))
    await chat.click("Vote")
    pressed = await client.wait_until(lambda: voter(client))
    assert pressed == hugo.id
    await client.remove_bot(group.id)
    await chat.read("the bot was removed")


async def voter(client: SandboxClient) -> int | None:
    """Give who pressed the button, once somebody has."""
    queries = (record.update.get("callback_query", {}) for record in await client.updates_waiting())
    return next((query["from"]["id"] for query in queries if query.get("data") == "vote"), None)
