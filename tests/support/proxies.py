"""Proxies between the desk and Telegram."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

BAD_GATEWAY: Final = "<html>502 Bad Gateway</html>"


@dataclass
class Proxy:
    """One that answers in Telegram's place, and the methods that it was asked for."""

    url: str = ""
    asked: list[str] = field(default_factory=list)


@asynccontextmanager
async def proxy_that_answers(text: str = BAD_GATEWAY, *, status: int = 502) -> AsyncIterator[Proxy]:
    """Run one that says the same to whatever it is asked."""
    proxy = Proxy()

    async def answer(request: web.Request) -> web.Response:
        proxy.asked.append(request.path.rpartition("/")[2])
        return web.Response(text=text, status=status, content_type="text/html")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield proxy
    finally:
        await runner.cleanup()
