"""The desk's clock that follows the sandbox's."""

import asyncio

from aiohttp import web

from bot.desk.parts import FollowedClock
from db.clock import utc_now
from db.timings import Timings
from sandbox.server import running_sandbox
from tests.support.waiting import until

HOUR_SECONDS = 3600
HASTY = Timings(sandbox_clock_pause_seconds=0.01, sandbox_clock_answer_seconds=0.2)


async def test_followed_clock_survives_failed_readings() -> None:
    asked = 0

    async def clock(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        if asked == 1:
            await asyncio.Event().wait()
        if asked == 2:
            return web.Response(status=502)
        return web.json_response({"result": {"offset_seconds": HOUR_SECONDS}})

    app = web.Application()
    app.router.add_get("/clock", clock)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    followed = FollowedClock(f"http://127.0.0.1:{runner.addresses[0][1]}/clock", HASTY)
    following = asyncio.create_task(followed.follow())

    async def is_an_hour_ahead() -> bool:
        return (followed() - utc_now()).total_seconds() > HOUR_SECONDS - 60

    await until(is_an_hour_ahead)
    following.cancel()
    await asyncio.wait({following})
    await runner.cleanup()


async def test_followed_clock_reads_the_sandboxs_clock() -> None:
    async with running_sandbox() as server:
        followed = FollowedClock(f"{server.url}/control/clock", HASTY)
        following = asyncio.create_task(followed.follow())
        await server.client.move_clock(HOUR_SECONDS)

        async def is_moved() -> bool:
            return abs((followed() - (await server.client.clock()).now).total_seconds()) < HOUR_SECONDS / 2

        await until(is_moved)
        following.cancel()
        await asyncio.wait({following})
