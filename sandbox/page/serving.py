"""The page's web server in the running event loop, beside a sandbox or far from it; once in a process."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Response
from nicegui import app as nicegui_app
from nicegui import ui
from starlette.middleware.trustedhost import TrustedHostMiddleware

from sandbox.bot_process import BotProcess
from sandbox.client import SandboxClient
from sandbox.page.layout import build_page
from sandbox.remote.transport import SandboxError

TITLE = "Telegram sandbox"
CLOSE_SECONDS = 1
RECONNECT_SECONDS = 30.0
_FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><circle cx="12" cy="12" r="12" fill="#3390ec"/>'
    '<path fill="#fff" d="M12 5l2 4.6 5 .4-3.8 3.3 1.2 4.9L12 15.6l-4.4 2.6 1.2-4.9L5 10l5-.4z"/></svg>'
)


class _Server(uvicorn.Server):
    """A uvicorn that tells when it is ready, and leaves the signals to the program that it runs in."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and set `ready`."""
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signals."""
        yield


def listening_socket(host: str, port: int, *, tries: int = 1) -> socket.socket:
    """Bind the page's port (0: any), or the next free one among `tries`. Raises OSError when there is none."""
    for candidate in range(port, port + tries):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, candidate))
            bound.listen()
        except OSError:
            bound.close()
            if candidate == port + tries - 1:
                raise
        else:
            return bound
    raise ValueError("tries must be at least 1")


@asynccontextmanager
async def serving_page(
    sandbox_url: str, listening: socket.socket, *, bot: BotProcess | None = None
) -> AsyncIterator[str]:
    """Serve the page of the sandbox at `sandbox_url` on a socket; yield its address.

    With `bot`, the page can kill and start that process.
    """
    host, port = listening.getsockname()[:2]
    async with SandboxClient(sandbox_url) as client:
        _register(client, bot)
        application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        # A foreign page whose name was pointed at this machine must not reach the sandbox through the browser.
        application.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", host])
        ui.run_with(
            application,
            title=TITLE,
            favicon=_FAVICON,
            dark=None,
            tailwind=False,
            binding_refresh_interval=None,
            reconnect_timeout=RECONNECT_SECONDS,
            show_welcome_message=False,
        )
        config = uvicorn.Config(
            application,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=CLOSE_SECONDS,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            await server.ready.wait()
            yield f"http://{host}:{port}"
        finally:
            server.should_exit = True
            await serving


def _register(client: SandboxClient, bot: BotProcess | None) -> None:
    @ui.page("/")
    async def page() -> None:
        await build_page(client, bot)

    @nicegui_app.get("/files/picture/{file_id}")
    async def picture(file_id: str) -> Response:
        return await _file(client, file_id, "image/png", "inline")

    @nicegui_app.get("/files/document/{file_id}/{name}")
    async def document(file_id: str, name: str) -> Response:  # noqa: ARG001 - for the browser, which saves under it
        return await _file(client, file_id, "application/octet-stream", "attachment")


async def _file(client: SandboxClient, file_id: str, media_type: str, disposition: str) -> Response:
    """Serve a file of the bot so that no browser runs its content."""
    try:
        content = await client.file(file_id)
    except SandboxError as refusal:
        return Response(str(refusal), status_code=404, media_type="text/plain")
    headers = {
        "Content-Disposition": disposition,
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(content, media_type=media_type, headers=headers)
