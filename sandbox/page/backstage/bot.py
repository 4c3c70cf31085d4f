"""The bot's process: whether it runs, its last words, and the buttons that kill it and start it again."""

from nicegui import ui

from sandbox.bot_process import BotProcess
from sandbox.page.backstage.cards import card
from sandbox.page.elements import box, button, line

LINES_SHOWN = 60


class BotCard:
    """Follows a bot's process until its tab is closed."""

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
