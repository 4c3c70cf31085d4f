"""`make demo` as a user runs it: its addresses, its traces, and its words when the bot ends."""

import signal
import socket
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types
import pytest
from aiohttp import ClientSession

from tests.support.browser import running


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


async def test_demo_runs_and_leaves_no_files_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The settings of the user's own bot are not for the demo's.
    monkeypatch.setenv("ADMIN_CHAT_ID", "no number")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with running("sandbox.demo", ["--port", "0"], "Open ") as demo:
        (bot,) = psutil.Process(demo.process.pid).children()
        async with ClientSession() as http, http.get(demo.address("Open")) as page:
            assert page.status == 200
        assert "demo.db" in left_in(tmp_path)
        demo.stop(signal.SIGINT)
        assert not bot.is_running()
        assert not left_in(tmp_path)


async def test_a_taken_port_is_passed_over_and_a_closed_terminal_ends_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with running("sandbox.demo", ["--port", str(port)], "Open ") as demo:
            assert int(demo.address("Open").rpartition(":")[2]) > port
            demo.stop(signal.SIGHUP)


async def test_demo_says_when_the_bot_ends_by_itself() -> None:
    with running("sandbox.demo", ["--port", "0"], "Open ") as demo:
        (bot,) = psutil.Process(demo.process.pid).children()
        bot.kill()
        assert demo.process.stdout is not None
        said = next(line for line in demo.process.stdout if line.startswith("The bot"))
        assert said.startswith("The bot has ended with status -9")
        demo.stop(signal.SIGTERM)
