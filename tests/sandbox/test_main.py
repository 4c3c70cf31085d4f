"""The command `python -m sandbox`, as a real process."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession


async def run(*options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sandbox",
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "200"},
    )


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_sandbox_prints_its_addresses_and_stops_cleanly(stop: signal.Signals) -> None:
    process = await run(
        "--port", "0", "--token", "7:secret", "--charge-id-length", "140", "--stripe-key", "sk_test_mine"
    )
    assert process.stdout is not None
    address = (await process.stdout.readline()).decode().split()[-1]
    async with ClientSession() as http, http.get(address) as response:
        assert (await response.json())["result"]["id"] == 7
    said = [(await process.stdout.readline()).decode() for _ in range(2)]
    assert said[-1].startswith("Stripe API ")
    assert said[-1].endswith(", with the key sk_test_mine\n")
    charges = said[-1].split()[2].rstrip(",") + "/charges"
    async with ClientSession() as http, http.get(charges, headers={"Authorization": "Bearer sk_test_mine"}) as response:
        assert (await response.json())["data"] == []
    process.send_signal(stop)
    _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "192.0.2.1"], "--expose-to-network"),
        (["--host", "example.com"], "--expose-to-network"),
        (["--token", "nonsense"], "123456:letters"),
        (["--charge-id-length", "5"], "at least 24"),
        (["--state", str(Path(__file__))], "is no state of a sandbox"),
        (["--state", "/nowhere/sandbox.json"], "cannot be written"),
    ],
)
async def test_wrong_options_are_refused_in_words(options: list[str], words: str) -> None:
    process = await run(*options)
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert words in errors.decode()


async def test_a_taken_port_is_said_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = await run("--port", str(taken.getsockname()[1]))
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert "name another port" in errors.decode()
    assert "Traceback" not in errors.decode()
