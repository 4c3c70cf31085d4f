"""Imported by the fork server alone: sells and refunds once, so that what it forks begins warm.

The desk of the rehearsal ends with its event loop, its threads and its database: a fork must find none of them.
"""

import asyncio
import gc
import os
import signal
import tempfile
import threading
from pathlib import Path
from typing import Final

from loguru import logger

import tests.support.made_once  # noqa: F401 - for all that are forked
from bot.desk.app import run_desk
from bot.settings import Settings
from db.timings import PRODUCTION
from sandbox.server import running_sandbox
from sandbox.settings import Settings as SandboxSettings

_TOKEN: Final = "1000001:rehearsal-rehearsal-rehearsal-rehear"
_CATALOG: Final = Path(__file__).parents[2] / "catalog.example.toml"
_BUYER_ID: Final = 1
_ADMIN_ID: Final = 2


async def _rehearse(directory: Path) -> None:
    async with running_sandbox(SandboxSettings(token=_TOKEN)) as server:
        client = server.client
        await client.add_person("Ann", id=_BUYER_ID, balance_stars=1000, started=True)
        await client.add_person("Boss", id=_ADMIN_ID, started=True)
        settings = Settings.model_validate(
            {
                "telegram_bot_token": _TOKEN,
                "telegram_api_url": server.url,
                "database_url": f"sqlite+aiosqlite:///{directory}/desk.sqlite",
                "catalog_file": _CATALOG,
                "admin_ids": [_ADMIN_ID],
            }
        )
        desk = asyncio.create_task(run_desk(settings, PRODUCTION))
        await client.send_text(_BUYER_ID, "/buy premium_monthly")
        invoice = await client.wait_for(_BUYER_ID, lambda one: "invoice" in one.message)
        payment = await client.pay(_BUYER_ID, message_id=invoice.message_id)
        await client.wait_for_text(_BUYER_ID, "Thank you")
        await client.send_text(_ADMIN_ID, f"/refund {payment.charge_id} as agreed")
        await client.wait_for_text(_ADMIN_ID, "went back")
        os.kill(os.getpid(), signal.SIGTERM)
        await desk


logger.remove()
with tempfile.TemporaryDirectory() as _directory:
    asyncio.run(_rehearse(Path(_directory)))
assert threading.active_count() == 1
gc.collect()
gc.freeze()
