"""Telegram answers the first calls 401 or 404, as it does now and then: the desk keeps off status 78."""

from pathlib import Path

import pytest

from db.timings import Timings
from sandbox.server import running_sandbox
from sandbox.settings import Settings
from tests.cases.telegram.front import Answer, error, fronting
from tests.support.daemon import TOKEN, running_daemon


@pytest.mark.parametrize("method", ["getme", "getstartransactions"])
@pytest.mark.parametrize(("code", "words"), [(401, "Unauthorized"), (404, "Not Found"), (400, "Logged out")])
async def test_slow_it_is_asked_again(tmp_path: Path, sqlite_url: str, code: int, words: str, method: str) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server, fronting(server.url) as front:
        left = [1]

        def once(*_: object) -> Answer | None:
            left[0] -= 1
            return error(code, words) if left[0] >= 0 else None

        front.rules[method] = once
        with running_daemon(tmp_path, front.url, sqlite_url) as daemon:
            await daemon.until_said("ready")
            assert await daemon.stop() == 0


@pytest.mark.parametrize(("seconds", "words"), [(0, "Unauthorized"), (3600, "Unauthorized: invalid token specified")])
async def test_token_that_stays_refused_ends_the_start(
    tmp_path: Path, sqlite_url: str, seconds: int, words: str
) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server, fronting(server.url) as front:
        front.rules["*"] = lambda *_: error(401, words)
        with running_daemon(tmp_path, front.url, sqlite_url, timings=Timings(token_patience_seconds=seconds)) as daemon:
            assert await daemon.ended() == 78
    assert "not a token that Telegram knows" in daemon.said()
