"""The Bot API over HTTP: arguments come in, then faults, the method, and the answer in Telegram's form."""

import asyncio
import json
import re
from http import HTTPStatus
from time import monotonic
from typing import Any

from aiohttp import web

from sandbox.args import Args, Upload
from sandbox.errors import ApiError, MigratedError, RetryAfterError, bad_request
from sandbox.faults import Fault, FaultKind
from sandbox.methods import METHODS
from sandbox.shapes import Json
from sandbox.wire import to_json
from sandbox.world import World

HOLD_SECONDS_MAX = 600
_TOKEN = re.compile(r"[0-9]+:[A-Za-z0-9_-]+")


class BotApi:
    """The HTTP handlers of the Bot API: /bot<token>/<method> and /file/bot<token>/<path>."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._running: set[asyncio.Task[web.StreamResponse]] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one Bot API call.

        A poll ends with its connection; any other call happens even if nobody reads the answer.
        """
        if request.match_info["method"].lower() == "getupdates":
            return await self._answer(request)
        task = asyncio.create_task(self._answer(request))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        faults = self._world.faults
        came_at = monotonic()
        args = Args()
        fault: Fault | None = None
        status, answer, headers = 200, {}, {}
        try:
            args = await _read_args(request)
            if faults.away:
                return self._cut(request, method, args, came_at)
            self._check_token(request.match_info["token"])
            await asyncio.sleep(self._world.settings.latency_ms / 1000)
            fault = faults.take_call(method.lower())
            if fault is not None and fault.kind is FaultKind.CUT_BEFORE:
                return self._cut(request, method, args, came_at)
            await self._suffer(fault)
            answer = {"ok": True, "result": await self._run(method.lower(), args)}
        except ApiError as refusal:
            status, answer = refusal.code, refusal.body()
            if isinstance(refusal, RetryAfterError):
                headers = {"Retry-After": str(refusal.retry_after_seconds)}
        if faults.away or (fault is not None and fault.kind is FaultKind.ANSWER_LOST):
            return self._cut(request, method, args, came_at)
        self._world.calls.add(method, args.values, status, answer, _ms_since(came_at))
        return _response(answer, status, headers)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """Answer /file/bot<token>/<path> with the file that getFile named."""
        if self._world.faults.away:
            return self._cut(request, "file", Args(), monotonic())
        try:
            self._check_token(request.match_info["token"])
        except ApiError as refusal:
            return _response(refusal.body(), refusal.code)
        found = self._world.files.at(request.match_info["path"])
        if found is None:
            return await self.not_found(request)
        return web.Response(body=found.upload.content, content_type="application/octet-stream")

    async def not_found(self, _: web.Request) -> web.StreamResponse:
        """Answer a request that is no Bot API call."""
        return _response(ApiError(404, "Not Found").body(), 404)

    def _check_token(self, token: str) -> None:
        if not _TOKEN.fullmatch(token):
            raise ApiError(401, "Unauthorized: invalid token specified")
        if token != self._world.token:
            raise ApiError(401, "Unauthorized")

    async def _run(self, method: str, args: Args) -> Any:
        self._world.clock.run_due()
        if method == "getupdates":
            return await self._world.poller.get_updates(args)
        if method not in METHODS:
            raise ApiError(404, "Not Found: method not found")
        with self._world.clock.one_moment():
            return METHODS[method](self._world, args)

    async def _suffer(self, fault: Fault | None) -> None:
        """Apply a fault that comes before the effect of a call; raises ApiError for 429, 400 and 5xx."""
        if fault is None:
            return
        match fault.kind:
            case FaultKind.RETRY_AFTER:
                raise RetryAfterError(fault.retry_after_seconds)
            case FaultKind.MIGRATED:
                raise MigratedError(fault.migrate_to_chat_id)
            case FaultKind.SERVER_ERROR:
                raise ApiError(fault.status, HTTPStatus(fault.status).phrase)
            case FaultKind.DELAY:
                await asyncio.sleep(fault.delay_seconds)
            case FaultKind.HOLD:
                await self._hold()

    async def _hold(self) -> None:
        faults, feed = self._world.faults, self._world.feed
        releases = faults.releases
        faults.held += 1
        feed.publish("held", held=faults.held)
        try:
            async with asyncio.timeout(HOLD_SECONDS_MAX):
                while faults.releases == releases:
                    await feed.wait(feed.last, HOLD_SECONDS_MAX)
        finally:
            faults.held -= 1

    def _cut(self, request: web.Request, method: str, args: Args, came_at: float) -> web.Response:
        """Cut the connection of a call, so that aiohttp cannot send the response."""
        self._world.calls.add(method, args.values, 0, {}, _ms_since(came_at))
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


def _ms_since(came_at: float) -> int:
    return round((monotonic() - came_at) * 1000)


def _response(answer: Json, status: int, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(text=to_json(answer), status=status, headers=headers, content_type="application/json")


async def _read_args(request: web.Request) -> Args:
    """Read the arguments of a call from its query and its body: a form, multipart or JSON."""
    values = dict(request.query)
    files: dict[str, Upload] = {}
    if request.content_type == "application/json":
        try:
            body = json.loads(await request.read() or b"{}")
        except (ValueError, RecursionError):
            raise bad_request("can't parse JSON object") from None
        if not isinstance(body, dict):
            raise bad_request("JSON object expected")
        values |= {name: _as_text(value) for name, value in body.items() if value is not None}
    else:
        try:
            form = await request.post()
        except (ValueError, LookupError):  # LookupError: an unknown charset
            raise bad_request("can't parse the form") from None
        for name, field in form.items():
            if isinstance(field, web.FileField):
                content = await asyncio.to_thread(field.file.read)
                files[name] = Upload(field.filename, field.content_type, content)
            else:
                values[name] = field if isinstance(field, str) else field.decode()
    return Args(values, files)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
