"""A whole desk, as a monitor and systemd see it."""

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiogram.utils.backoff import BackoffConfig

from sandbox.server import running_sandbox
from sandbox.settings import Settings
from tests.support.daemon import TOKEN, running_daemon
from tests.support.ports import free_port
from tests.support.systemd import listening_systemd
from tests.support.waiting import WAIT_SECONDS, until


@pytest.mark.criterion("O7", "L3")
async def test_a_desk_tells_how_it_is_from_its_start_to_its_end(tmp_path: Path, sqlite_url: str) -> None:
    port = free_port()
    quick = {
        "bot.polling.BACKOFF": BackoffConfig(min_delay=0.01, max_delay=0.02, factor=1.5, jitter=0.001),
        "bot.monitoring.watch.LOOK_SECONDS": 0.01,
    }

    async def page(path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, await answer.text()

    async def is_degraded() -> bool:
        return (await page("/healthz"))[0] == 503

    with listening_systemd(tmp_path / "notify") as systemd:
        async with running_sandbox(Settings(token=TOKEN)) as server:
            more: dict[str, Any] = {"HTTP_PORT": str(port), "NOTIFY_SOCKET": str(tmp_path / "notify")}
            with running_daemon(tmp_path, server.url, sqlite_url, constants=quick, **more) as daemon:
                await server.client.wait_until_polling(timeout_seconds=WAIT_SECONDS)
                await systemd.until_heard("STATUS=healthy")
                await systemd.until_heard("WATCHDOG=1")
                assert await page("/healthz") == (200, '{"state": "healthy", "troubles": {}}')
                _, metrics = await page("/metrics")
                assert 'starledger_telegram_calls_total{method="getMe",outcome="ok"} ' in metrics
                await server.client.set_away(away=True)
                await until(is_degraded)
                assert json.loads((await page("/healthz"))[1])["troubles"].keys() == {"telegram"}
                assert await daemon.stop() == 0
                systemd.listen()
    assert systemd.heard.index("READY=1") < systemd.heard.index("STATUS=healthy")
    assert systemd.heard[-1] == "STOPPING=1"
