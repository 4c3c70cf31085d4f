"""`make demo` as a user has it: where it is, what it leaves behind, and what it says when the bot ends."""

import signal
import socket
import tempfile
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types
import pytest
from aiohttp import ClientSession

from tests.support.pages import running


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("starledger-demo-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_is_up_and_leaves_nothing_behind(number: signal.Signals) -> None:
    before = folders()
    with running("sandbox.demo", ["--port", "0"], "Open ") as demo:
        (bot,) = psutil.Process(demo.process.pid).children()
        async with ClientSession() as http, http.get(demo.address("Open")) as page:
            assert page.status == 200
        assert folders() - before
        rest = demo.stop(number)
        assert "Traceback" not in rest
        assert not bot.is_running()
        assert folders() == before


async def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with running("sandbox.demo", ["--port", str(port)], "Open ") as demo:
            assert int(demo.address("Open").rpartition(":")[2]) > port
            demo.stop()


async def test_it_says_when_the_bot_ends_by_itself() -> None:
    with running("sandbox.demo", ["--port", "0"], "Open ") as demo:
        (bot,) = psutil.Process(demo.process.pid).children()
        bot.kill()
        assert demo.process.stdout is not None
        said = next(line for line in demo.process.stdout if line.startswith("The bot"))
        assert said.startswith("The bot has ended with status -9")
        demo.stop()
