"""Starting and stopping a sandbox in the running event loop; any number of them in one process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from aiohttp import web

from sandbox.bot_api import BotApi
from sandbox.client import SandboxClient
from sandbox.clock import VirtualClock
from sandbox.control import ControlApi
from sandbox.settings import Settings
from sandbox.world import World

BODY_BYTES_MAX = 256 * 1024 * 1024  # a ledger of 100,000 rows comes in one request


@dataclass(frozen=True, slots=True)
class SandboxServer:
    """A running sandbox: `url` is the base address of both APIs, `world` what is behind them."""

    url: str
    world: World
    client: SandboxClient

    @property
    def token(self) -> str:
        """Give the token that opens the Bot API now."""
        return self.world.token


@asynccontextmanager
async def running_sandbox(
    settings: Settings | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[SandboxServer]:
    """Run a sandbox; port 0 takes a free one. Raises OSError when the port is taken."""
    world = World(settings or Settings())
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_routes(ControlApi(world).routes())
    bot_api = BotApi(world)
    app.router.add_route("*", "/bot{token}/{method}", bot_api.handle)
    app.router.add_get("/file/bot{token}/{path:.+}", bot_api.file)
    app.router.add_route("*", "/{tail:.*}", bot_api.not_found)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    driver = asyncio.create_task(_drive(world.clock))
    try:
        await web.TCPSite(runner, host, port).start()
        url = f"http://{host}:{runner.addresses[0][1]}"
        async with SandboxClient(url) as client:
            yield SandboxServer(url, world, client)
    finally:
        driver.cancel()
        with suppress(asyncio.CancelledError):
            await driver
        world.poller.wake()
        world.faults.release_holds()
        await world.cards.close()
        await runner.cleanup()


async def _drive(clock: VirtualClock) -> None:
    """Let due things happen as real time goes by."""
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
