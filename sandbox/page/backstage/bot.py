"""The page's card of the bot: buttons that kill its process and start it, or the token for a bot of one's own."""

from nicegui import ui

from sandbox.bot_process import BotProcess
from sandbox.client import SandboxClient
from sandbox.page.backstage.cards import card
from sandbox.page.elements import box, button, copies_on_click, line
from sandbox.shapes import Json

LINES_SHOWN = 60


class OwnBotCard:
    """The card with the values for a bot of one's own, and whether that bot polls."""

    def __init__(self, client: SandboxClient) -> None:
        self._client = client
        with card("Your bot") as head:
            with head:
                self._state = line("", "muted")
            line("The address of the Bot API, where your library asks for that of a local server:", "muted")
            self._address = _copied_line(client.url)
            line("The token:", "muted")
            self._token = _copied_line("")
            line("For payment by card, the provider token:", "muted")
            self._provider_token = _copied_line("")
            self._stripe = line("", "muted")
            self._stripe_key = _copied_line("")

    async def refresh(self) -> None:
        """Refresh the bot's card: the token, the values for cards, and whether a bot polls."""
        about = await self._client.about()
        self._token.set_text(about.token)
        self._provider_token.set_text(about.provider_token)
        self._stripe.set_text(f"Stripe's API is at {about.stripe_url or 'the same address'}. Its secret key:")
        self._stripe_key.set_text(about.stripe_key)
        self._state.set_text("polls" if await self._client.polling() else "does not poll")

    async def update(self, events: list[Json]) -> None:
        """Update the bot's card after a poll came or went, or the token changed."""
        if any(event["topic"] in {"poll", "token"} for event in events):
            await self.refresh()


def _copied_line(text: str) -> ui.label:
    made = line(text, "run is-code address")
    copies_on_click(made, lambda: ui.notify("Copied to clipboard"))
    return made


class BotCard:
    """The card of a bot's process, until its tab closes."""

    def __init__(self, bot: BotProcess) -> None:
        self._bot = bot
        with card("The bot") as head:
            with head:
                self._state = line("", "muted")
            line("Kill it while somebody pays, start it again, and look whether a Star was lost.", "muted")
            with box("buttons"):
                self._kill = button("Kill (SIGKILL)", bot.kill, "button danger")
                self._start = button("Start the bot", bot.start)
            with box("log"):
                self._lines = line("")
        bot.watchers.add(self._show)
        ui.context.client.on_delete(lambda: bot.watchers.discard(self._show))
        self._show()

    def _show(self) -> None:
        is_running = self._bot.pid is not None
        self._state.set_text(f"runs as process {self._bot.pid}" if is_running else f"ended with {self._bot.status}")
        self._kill.set_visibility(is_running)
        self._start.set_visibility(not is_running)
        self._lines.set_text("\n".join(list(self._bot.lines)[-LINES_SHOWN:]))
