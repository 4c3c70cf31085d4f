"""The layout of the page: its head, the people's chats, Telegram's other side, and their updates."""

import asyncio
from pathlib import Path

import aiohttp
from nicegui import background_tasks, ui

from sandbox.bot_process import BotProcess
from sandbox.client import SandboxClient
from sandbox.page.backstage.light import StatusLight
from sandbox.page.backstage.stage import Backstage
from sandbox.page.chats import Chats
from sandbox.page.elements import box, button, icon_button, line
from sandbox.page.newcomer import Newcomers
from sandbox.page.view import View

STYLE_FILE = Path(__file__).with_name("style.css")
EVENTS_SECONDS = 20.0
RETRY_SECONDS = 1.0


async def build_page(client: SandboxClient, bot: BotProcess | None) -> None:
    """Build the page for one browser tab, and follow the sandbox until the tab closes."""
    ui.add_css(STYLE_FILE)
    dark = ui.dark_mode(None)
    about = await client.about()
    with box("page"):
        with box("top", "header"):
            line("Telegram sandbox", "brand")
            tabs = box("tabs", "nav")
            status = StatusLight(client, bot)
            tools = box("tools")
        chats = Chats(client, about.bot)
        backstage = Backstage(client, bot)
    _fill_tabs(tabs, chats, backstage)
    with tools:
        Newcomers(client, chats.choose)
        icon_button("dark_mode", "Light or dark", lambda: dark.set_value(not dark.value))
    views: list[View] = [chats, backstage, status]
    following = background_tasks.create(_follow(client, views), context=ui.context.client)
    ui.context.client.on_delete(following.cancel)


def _fill_tabs(tabs: ui.element, chats: Chats, backstage: Backstage) -> None:
    async def choose(chosen: ui.element) -> None:
        for tab in (chat_tab, stage_tab):
            tab.classes(**{"add" if tab is chosen else "remove": "chosen"})
            tab.props["aria-current"] = "page" if tab is chosen else "false"
        chats.root.set_visibility(chosen is chat_tab)
        await backstage.show(visible=chosen is stage_tab)

    with tabs:
        chat_tab = button("Chats", lambda: choose(chat_tab), "tab chosen")
        stage_tab = button("Behind the scenes", lambda: choose(stage_tab), "tab")


async def _follow(client: SandboxClient, views: list[View]) -> None:
    last = None
    while True:
        try:
            if last is None:
                last, _ = await client.events()
                for view in views:
                    await view.refresh()
            last, events = await client.events(after=last, timeout_seconds=EVENTS_SECONDS)
            if events:
                for view in views:
                    await view.update(events)
        except aiohttp.ClientError:
            last = None
            await asyncio.sleep(RETRY_SECONDS)
