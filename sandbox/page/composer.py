"""The composer of a pane: the field to write in, the bot's registered commands, and Start."""

import json

from nicegui import events, ui

from sandbox.page.elements import box, icon_button, line
from sandbox.page.hands import Hands
from sandbox.people import Reach

_START = {
    Reach.NOT_STARTED: "Start",
    Reach.BLOCKED: "Restart bot",
    Reach.DEACTIVATED: "This account is deleted",
}


_TAKE = """(event) => {
    const field = event.currentTarget.closest(".composer").querySelector("input");
    emit(field.value);
    field.value = "";
    field.dispatchEvent(new Event("input"));
}"""
"""Sends the text and empties the field in the browser, because a late answer would overwrite further typing."""

_COMPLETE = """(event) => {
    const field = event.currentTarget.closest(".pane").querySelector(".composer input");
    field.value = %s;
    field.dispatchEvent(new Event("input"));
    field.focus();
}"""
"""Writes a command into the field in the browser, because a late answer would overwrite further typing."""


class Composer:
    """The composer at the bottom of a pane."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._looks = 0
        self._suggestions = box("suggestions")
        with box("composer") as self._writing:
            icon_button("menu", "Commands", self._toggle_commands, "menu-button")
            self._field = (
                ui.input(placeholder="Message", on_change=self._on_change)
                .props("borderless dense autocomplete=off")
                .classes("field")
                .on("keydown.enter", self._send, js_handler=_TAKE)
                .on("keydown.escape", self._close, args=[])
            )
            self._field.props["aria-label"] = "Message"
            with box("icon-button send-button", "button").props("type=button aria-label=Send") as send:
                ui.icon("send")
            send.on("click", self._send, js_handler=_TAKE)
        with box("start", "button").props("type=button").on("click", self._start, args=[]) as self._starting:
            self._start_text = line("")

    def show(self, reach: Reach) -> None:
        """Show the composer's field, or Start while the bot may not write to the person."""
        is_open = reach is Reach.OPEN
        self._writing.set_visibility(is_open)
        self._starting.set_visibility(not is_open)
        self._start_text.set_text(_START.get(reach, ""))
        if reach is Reach.DEACTIVATED:
            self._starting.props("disabled")

    async def _start(self) -> None:
        await self._hands.send("/start")

    async def _send(self, event: events.GenericEventArguments) -> None:
        self._close()
        if text := str(event.args).strip():
            await self._hands.send(text)

    async def _toggle_commands(self) -> None:
        if list(self._suggestions):
            self._close()
        else:
            await self._suggest("/")

    async def _on_change(self, change: events.ValueChangeEventArguments[str | None]) -> None:
        typed = change.value or ""
        if typed.startswith("/") and " " not in typed:
            await self._suggest(typed)
        else:
            self._close()

    def _close(self) -> None:
        self._looks += 1
        self._suggestions.clear()

    async def _suggest(self, typed: str) -> None:
        self._looks += 1
        look = self._looks
        commands = await self._hands.client.commands(self._hands.speaker.user_id, self._hands.speaker.chat_id)
        if look != self._looks:
            return  # More was typed meanwhile, or it was sent.
        fitting = [command for command in commands if f"/{command['command']}".startswith(typed.lower())]
        self._suggestions.clear()
        with self._suggestions:
            for command in fitting:
                self._show_suggestion(f"/{command['command']}", command["description"])

    def _show_suggestion(self, command: str, description: str) -> None:
        async def send() -> None:
            self._field.set_value("")
            self._close()
            await self._hands.send(command)

        with box("suggestion-row"):
            with box("suggestion", "button").props("type=button").on("click", send, args=[]):
                line(command, "suggestion-command")
                line(description, "suggestion-text")
            more = icon_button("north_west", f"Write {command} with more behind it", lambda: None)
            more.on("click", js_handler=_COMPLETE % json.dumps(f"{command} "))
