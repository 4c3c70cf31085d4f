"""A server in front of the sandbox that passes calls on or answers by rules: faults that the sandbox lacks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from ssl import SSLContext
from typing import Any, Final

import aiohttp
from aiohttp import web

Answer = tuple[int, Any]
"""An HTTP status, and the body: text goes out as HTML, anything else as JSON."""

Rule = Callable[[str, bytes], Answer | None]
"""Answers a call by its method and its body; None: the call is passed on."""

_BODY_BYTES_MAX: Final = 2**26


class Front:
    """Passes on what no rule answers; `rules` go by the method in lower case, or `*`.

    A call of more than `cut_after` seconds is answered 504, as a gateway does.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.url = ""
        self.rules: dict[str, Rule] = {}
        self.cut_after: float | None = None
        self.log: list[tuple[str, float]] = []
        self.session: aiohttp.ClientSession

    def polls(self) -> list[float]:
        """Return when each getUpdates came, by the loop's clock."""
        return [at for method, at in self.log if method == "getUpdates"]

    def gaps(self) -> list[float]:
        """Return the seconds from each getUpdates to the next."""
        return [round(then - before, 1) for before, then in pairwise(self.polls())]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one call."""
        method = request.path.rpartition("/")[2]
        body = await request.read()
        self.log.append((method, asyncio.get_running_loop().time()))
        rule = self.rules.get(method.lower()) or self.rules.get("*")
        answer = rule(method, body) if rule is not None else None
        if answer is not None:
            status, what = answer
            if isinstance(what, str):
                return web.Response(text=what, status=status, content_type="text/html")
            return web.json_response(what, status=status)
        try:
            return await asyncio.wait_for(self._pass_on(request, body), self.cut_after)
        except TimeoutError:
            return web.Response(text="<html><body>504 Gateway Time-out</body></html>", status=504)
        except aiohttp.ClientError:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(text="gone", status=502)

    async def _pass_on(self, request: web.Request, body: bytes) -> web.Response:
        headers = {"Content-Type": request.headers.get("Content-Type", "application/json")}
        url = self.target + request.path_qs
        async with self.session.request(request.method, url, data=body, headers=headers) as response:
            return web.Response(body=await response.read(), status=response.status, content_type="application/json")


@asynccontextmanager
async def fronting(target: str, host: str = "127.0.0.1", ssl_context: SSLContext | None = None) -> AsyncIterator[Front]:
    """Run a front before the server at `target` beside the block; `ssl_context` makes it speak TLS."""
    front = Front(target)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as front.session:
        app = web.Application(client_max_size=_BODY_BYTES_MAX)
        app.router.add_route("*", "/{tail:.*}", front.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, 0, ssl_context=ssl_context).start()
            shown = f"[{host}]" if ":" in host else host
            front.url = f"http{'s' if ssl_context else ''}://{shown}:{runner.addresses[0][1]}"
            yield front
        finally:
            await runner.cleanup()


def error(code: int, words: str, **parameters: object) -> Answer:
    """Make Telegram's answer to a call that it does not do."""
    told: dict[str, object] = {"ok": False, "error_code": code, "description": words}
    return code, told | ({"parameters": parameters} if parameters else {})
