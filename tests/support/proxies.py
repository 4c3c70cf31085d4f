"""What stands between us and Telegram."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def proxy_in_trouble() -> AsyncIterator[str]:
    """Run one that answers in Telegram's place; give its URL."""

    async def trouble(_: web.Request) -> web.Response:
        return web.Response(text="<html>502 Bad Gateway</html>", status=502, content_type="text/html")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", trouble)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()
