"""`python -m sandbox.demo`: a whole shop in a sandbox on this machine, without a Telegram account.

It runs a sandbox, the bot of this checkout on a fresh SQLite file in a temporary folder, three people, and the chat
page.
"""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from socket import socket
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from sandbox.bot_process import BotProcess
from sandbox.server import SandboxServer, running_sandbox
from sandbox.settings import PROVIDER_TOKEN, STRIPE_KEY, Settings

ROOT = Path(__file__).resolve().parent.parent
PORT = 8080
PORTS_TRIED = 20
BUYER_STARS = 2_500
WORDS_SHOWN = 15
_KEPT_VARIABLES = {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "VIRTUAL_ENV"}

_HINT = """\
  Ann and Ben buy, Olga is the admin. Press Start, then send /buy, choose a plan, press Pay, and send /status.
  The invoice of a plan for 30 days has buttons to pay by card instead.
  To give it back, copy the charge id; then, as Olga: Start, and /refund with a space and the charge id.
  The balance on top of a chat opens that person's Stars and subscriptions. "Behind the scenes" has Telegram's
  ledger, a clock to move, faults, and a switch to kill the bot; and the account at Stripe, which the bot asks for
  news once a minute.
  Ctrl-C ends it all and leaves nothing behind."""


def main(
    *,
    port: Annotated[int, typer.Option(help="Port of the page; if it is taken, the next free one.")] = PORT,
) -> None:
    """Run the demo until Ctrl-C."""
    try:
        import nicegui  # noqa: F401, PLC0415 - optional, so the demo looks for it before it starts anything
    except ImportError:
        typer.echo("The demo's page needs NiceGUI: make setup.", err=True)
        raise typer.Exit(1) from None
    from sandbox.page.serving import listening_socket  # noqa: PLC0415 - NiceGUI is optional

    try:
        listening = listening_socket("127.0.0.1", port, tries=PORTS_TRIED)
    except OSError:
        typer.echo(f"No port from {port} to {port + PORTS_TRIED - 1} is free; name another with --port.", err=True)
        raise typer.Exit(1) from None
    typer.echo("Starting the shop…")
    asyncio.run(_run(listening))


async def _run(listening: socket) -> None:
    from sandbox.page.serving import serving_page  # noqa: PLC0415 - NiceGUI is optional

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with TemporaryDirectory(prefix="starledger-demo-") as folder:
        async with running_sandbox(Settings(bot_name="Premium Shop", bot_username="premium_shop_bot")) as sandbox:
            admin_id = await _add_people(sandbox)
            bot = _bot_process(Path(folder), sandbox, admin_id)
            async with serving_page(sandbox.url, listening, bot=bot) as url:
                try:
                    await bot.start()
                    await _first(stop.wait(), bot.ended(), sandbox.client.wait_until_polling(timeout_seconds=60))
                    if not stop.is_set():
                        typer.echo(f"Open {url} in a browser.\n{_HINT}")
                    bot.watchers.add(_EndTeller(bot))
                    await stop.wait()
                finally:
                    await bot.stop()


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait until the first of the demo's tasks is over, and leave the others."""
    tasks = [asyncio.create_task(each) for each in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _add_people(sandbox: SandboxServer) -> int:
    """Add the demo's two buyers and its admin; return the admin's id."""
    await sandbox.client.add_person("Ann", balance_stars=BUYER_STARS, username="ann_reads")
    await sandbox.client.add_person("Ben", balance_stars=BUYER_STARS, username="ben_listens")
    return (await sandbox.client.add_person("Olga", last_name="(admin)", username="olga_sells")).id


def _bot_process(folder: Path, sandbox: SandboxServer, admin_id: int) -> BotProcess:
    catalog = shutil.copy(ROOT / "catalog.example.toml", folder / "catalog.toml")
    settings = {
        "TELEGRAM_BOT_TOKEN": sandbox.token,
        "TELEGRAM_API_URL": sandbox.url,
        "SANDBOX_CLOCK_URL": f"{sandbox.url}/control/clock",
        "DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'demo.db'}",
        "CATALOG_FILE": str(catalog),
        "ADMIN_IDS": str(admin_id),
        "SUPPORT_CONTACT": "@olga_sells",
        "PAYMENT_TOKEN": PROVIDER_TOKEN,
        "STRIPE_SECRET_KEY": STRIPE_KEY,
        "STRIPE_API_URL": sandbox.url,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
    # Neither the user's own settings nor a .env of the checkout must reach the demo's bot.
    kept = {name: value for name, value in os.environ.items() if name in _KEPT_VARIABLES}
    return BotProcess([sys.executable, "-m", "bot", "run"], kept | settings, folder)


class _EndTeller:
    """Prints the end of the demo's bot, and its last output, on the terminal."""

    def __init__(self, bot: BotProcess) -> None:
        self._bot = bot
        self._ran = True
        self()

    def __call__(self) -> None:
        """Print the end of the demo's bot, if it has ended by itself."""
        runs = self._bot.pid is not None
        if self._ran and not runs and self._bot.ended_by_itself:
            words = "\n  ".join(list(self._bot.lines)[-WORDS_SHOWN:])
            typer.echo(f"The bot has ended with status {self._bot.status}. Its last words:\n  {words}", err=True)
        self._ran = runs


if __name__ == "__main__":
    typer.run(main)
