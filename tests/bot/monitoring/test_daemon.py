"""A running desk, as a monitor and systemd see it."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox.faults import FaultKind
from sandbox.server import running_sandbox
from sandbox.settings import Settings
from tests.bot.monitoring.systemd import listening_systemd
from tests.support.daemon import TOKEN, running_daemon
from tests.support.ports import free_port
from tests.support.timings import QUICK
from tests.support.waiting import until


@pytest.mark.criterion("O7", "L3")
async def test_a_desk_tells_how_it_is_from_its_start_to_its_end(tmp_path: Path, sqlite_url: str) -> None:
    port = free_port()
    quick = replace(QUICK, health_look_seconds=0.1, ledger_retry_seconds=0.01)

    async def page(path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, await answer.text()

    # Unread, the socket holds ten messages (unix(7), max_dgram_qlen), so each wait listens.
    async def is_healthy() -> bool:
        systemd.listen()
        return await page("/healthz") == (200, '{"state": "healthy", "troubles": {}}')

    async def is_degraded() -> bool:
        systemd.listen()
        return (await page("/healthz"))[0] == 503

    async def is_over() -> bool:
        systemd.listen()
        return stopping.done()

    with listening_systemd(tmp_path / "notify") as systemd:
        async with running_sandbox(Settings(token=TOKEN)) as server:
            # The first comparison asks for it, nothing before that, and this error is not tried again at once.
            await server.client.add_fault(
                FaultKind.MIGRATED, "getMyStarBalance", count=10_000, migrate_to_chat_id=-1001
            )
            more: dict[str, Any] = {"HTTP_PORT": str(port), "NOTIFY_SOCKET": str(tmp_path / "notify")}
            with running_daemon(tmp_path, server.url, sqlite_url, timings=quick, **more) as daemon:
                await systemd.until_heard(
                    "STATUS=degraded, ledger: Telegram's ledger could not be read: TelegramMigrateToChat"
                )
                assert json.loads((await page("/healthz"))[1])["troubles"].keys() == {"ledger"}
                await server.client.clear_faults()
                await systemd.until_heard("STATUS=healthy")
                await systemd.until_heard("WATCHDOG=1")
                await until(is_healthy)
                _, metrics = await page("/metrics")
                assert 'starledger_telegram_calls_total{method="getMe",outcome="ok"} ' in metrics
                await server.client.set_away(away=True)
                await until(is_degraded)
                assert json.loads((await page("/healthz"))[1])["troubles"].keys() == {"telegram"}
                stopping = asyncio.create_task(daemon.stop())
                await until(is_over)
                assert stopping.result() == 0
                systemd.listen()
    assert systemd.heard.index("READY=1") < systemd.heard.index("STATUS=healthy")
    assert systemd.heard[-1] == "STOPPING=1"
