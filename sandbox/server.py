"""The sandbox server: start and stop a sandbox in the running event loop; one process may have several."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from email.utils import format_datetime
from functools import partial
from pathlib import Path

from aiohttp import web

from sandbox.bot_api import BotApi
from sandbox.client import SandboxClient
from sandbox.clock import VirtualClock
from sandbox.control import ControlApi
from sandbox.settings import Settings
from sandbox.state import keep_state, read_state, write_state
from sandbox.stripe.api import AccountApi
from sandbox.world import World

BODY_BYTES_MAX = 256 * 1024 * 1024  # a ledger of 100,000 rows comes in one request


@dataclass(frozen=True, slots=True)
class SandboxServer:
    """A running sandbox: `url` is the base address of all its APIs, `world` the Telegram behind them."""

    url: str
    world: World
    client: SandboxClient

    @property
    def token(self) -> str:
        """Return the present token of the Bot API."""
        return self.world.token


@asynccontextmanager
async def running_sandbox(
    settings: Settings | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    state_file: Path | None = None,
) -> AsyncIterator[SandboxServer]:
    """Run a sandbox server; port 0 takes a free one. With `state_file` it resumes the last run with that file.

    Raises OSError when the port is taken, StateError for a file that cannot be read or written.
    """
    world = World(settings or Settings())
    if state_file is not None:
        read_state(state_file, world)
        write_state(state_file, world)
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_routes(ControlApi(world).routes())
    bot_api = BotApi(world)
    app.router.add_route("*", "/bot{token}/{method}", bot_api.handle)
    app.router.add_get("/file/bot{token}/{path:.+}", bot_api.file)
    app.router.add_route("*", "/v1/{tail:.*}", AccountApi(world.stripe).handle)
    app.router.add_route("*", "/{tail:.*}", bot_api.not_found)
    app.on_response_prepare.append(partial(_date, world.clock))
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    tasks = [asyncio.create_task(_drive(world.clock))]
    if state_file is not None:
        tasks.append(asyncio.create_task(keep_state(state_file, world)))
    try:
        await web.TCPSite(runner, host, port).start()
        url = f"http://{host}:{runner.addresses[0][1]}"
        async with SandboxClient(url) as client:
            yield SandboxServer(url, world, client)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        world.poller.wake()
        world.faults.release_holds()
        await world.cards.close()
        await runner.cleanup()
        if state_file is not None:
            write_state(state_file, world)


async def _date(clock: VirtualClock, _: web.Request, response: web.StreamResponse) -> None:
    """Date an HTTP answer by the sandbox's clock, as a server does by its own."""
    response.headers["Date"] = format_datetime(clock.now(), usegmt=True)


async def _drive(clock: VirtualClock) -> None:
    """Fire the sandbox's timers as real time goes by."""
    changed = asyncio.Event()
    clock.on_schedule = changed.set
    while True:
        changed.clear()
        clock.run_due()
        due = clock.next_due()
        pause_seconds = None if due is None else max((due - clock.now()).total_seconds(), 0)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_seconds):
                await changed.wait()
