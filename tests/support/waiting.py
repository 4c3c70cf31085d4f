"""Waiting for a condition instead of for a time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

WAIT_SECONDS: Final = 20
"""After this a condition is held never to come true; on an idle machine none takes a tenth."""

_PAUSE_SECONDS: Final = 0.01


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return as soon as `condition` is true; TimeoutError after WAIT_SECONDS."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not await condition():  # noqa: ASYNC110 - what another process or the database does sets no Event
            await asyncio.sleep(_PAUSE_SECONDS)


def skip_sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let whatever sleeps from now on go on at once; give the list in which the seconds will stand that it wanted."""
    slept: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return slept
