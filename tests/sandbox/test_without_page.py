"""The sandbox where NiceGUI, an optional extra, is not installed."""

import asyncio
import signal
import sys

WITHOUT = "import runpy, sys; sys.modules['nicegui'] = None; runpy.run_module(sys.argv.pop(1), run_name='__main__')"


async def run(module: str, *options: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-c", WITHOUT, module, *options, stdout=pipe, stderr=pipe
    )


async def test_the_server_runs_and_says_how_to_get_the_page() -> None:
    process = await run("sandbox", "--port", "0")
    assert process.stdout is not None
    said = [(await process.stdout.readline()).decode() for _ in range(4)]
    assert said[0].startswith("Bot API")
    assert said[-1] == "Chat page   needs NiceGUI: pip install 'starledger-sandbox[page]'\n"
    process.send_signal(signal.SIGTERM)
    assert await process.communicate() == (b"", b"")
    assert process.returncode == 0


async def test_the_demo_says_what_it_needs_in_one_line() -> None:
    process = await run("sandbox.demo")
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors == b"The demo's page needs NiceGUI: make setup.\n"
