"""The sandbox client's transport: HTTP calls of the control API, and waiting for events."""

import json
from collections.abc import Awaitable, Callable
from time import monotonic
from types import TracebackType
from typing import Self, TypeVar

from aiohttp import ClientSession, ClientTimeout
from pydantic import TypeAdapter

from sandbox.shapes import Json, without_none
from sandbox.wire import to_json

T = TypeVar("T")

EVENTS_SECONDS = 20.0
NOTHING: TypeAdapter[None] = TypeAdapter(None)
NUMBER: TypeAdapter[int] = TypeAdapter(int)
ROW: TypeAdapter[Json] = TypeAdapter(Json)
ROWS: TypeAdapter[list[Json]] = TypeAdapter(list[Json])


class SandboxError(Exception):
    """The error of a request that the sandbox refuses; the message says why."""


class SandboxTimeoutError(AssertionError):
    """The error of a wait in vain; the message says what the sandbox had instead."""


class Transport:
    """One HTTP session with one sandbox; an async context manager."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = ClientSession(timeout=ClientTimeout(total=None, sock_connect=10))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the HTTP session with the sandbox."""
        if self._session is not None:
            await self._session.close()

    async def call(self, answer: TypeAdapter[T], operation: str, **arguments: object) -> T:
        """Call an operation of the control API; it leaves out arguments that are None. Raises SandboxError."""
        body = to_json(without_none(**arguments)).encode()
        headers = {"Content-Type": "application/json"}
        async with self._http.post(f"{self.url}/control/{operation}", data=body, headers=headers) as response:
            parsed = json.loads(await response.read())
        if "error" in parsed:
            raise SandboxError(f"{operation}: {parsed['error']}")
        return answer.validate_python(parsed["result"])

    async def events(self, *, after: int | None = None, timeout_seconds: float = 0.0) -> tuple[int, list[Json]]:
        """Return the number of the sandbox's last event, and the events after a number.

        Waits up to `timeout_seconds` for one. Without `after`, only future events count.
        """
        query = without_none(after=after, timeout=timeout_seconds)
        async with self._http.get(f"{self.url}/control/events", params=query) as response:
            body = json.loads(await response.read())
        return body["last"], body["events"]

    async def file(self, file_id: str) -> bytes:
        """Return the content of a file that the bot has sent to the sandbox. Raises SandboxError."""
        async with self._http.get(f"{self.url}/control/files/{file_id}") as response:
            content = await response.read()
            if response.status != 200:  # noqa: PLR2004 - HTTP's own number
                raise SandboxError(f"there is no file {file_id}")
            return content

    async def wait_until(
        self,
        look: Callable[[], Awaitable[T | None]],
        *,
        timeout_seconds: float = 10.0,
        what: str = "the condition",
        otherwise: Callable[[], Awaitable[str]] | None = None,
    ) -> T:
        """Call `look` after each event of the sandbox until it returns something true; return that.

        Raises SandboxTimeoutError after `timeout_seconds` of real time, with the text of `otherwise`.
        """
        until = monotonic() + timeout_seconds
        last, _ = await self.events()
        while True:
            found = await look()
            if found:
                return found
            left_seconds = until - monotonic()
            if left_seconds <= 0:
                told = await otherwise() if otherwise else ""
                raise SandboxTimeoutError(f"{what} has not come within {timeout_seconds} s\n{told}".rstrip())
            last, _ = await self.events(after=last, timeout_seconds=min(left_seconds, EVENTS_SECONDS))

    @property
    def _http(self) -> ClientSession:
        if self._session is None:
            raise RuntimeError("SandboxClient is an async context manager: enter it first")
        return self._session
