"""A leftover webhook, as a bot builder sets it: no poll gets an update until it is removed."""

from pathlib import Path
from typing import Final

from bot.poll.conflicts import ConflictAlert
from db.engine import Database
from payments.notices import Admins, Notice
from sandbox.server import running_sandbox
from sandbox.settings import Settings
from tests.cases.telegram.front import error, fronting
from tests.support.clock import FakeClock
from tests.support.daemon import TOKEN, running_daemon
from tests.support.desk import Desk

WORDS: Final = (
    "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
)


async def test_slow_the_alert_names_the_mend(tmp_path: Path, sqlite_url: str) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server, fronting(server.url) as front:
        await server.client.add_person("Max", id=7009, started=True)
        front.rules["getupdates"] = lambda *_: error(409, WORDS)
        with running_daemon(tmp_path, front.url, sqlite_url, ADMIN_IDS="7009") as daemon:
            told = await server.client.wait_for(7009, lambda each: each.by_bot, timeout_seconds=15)
            await daemon.stop()
        assert "--remove-webhook" in told.text() + daemon.said(), told.text()


async def test_leftover_webhook_is_told_once_a_day_in_each_admin_chat(
    sqlite_database: Database, clock: FakeClock
) -> None:
    desk = Desk(sqlite_database, clock)
    alert = ConflictAlert(sqlite_database, clock, Admins((7009, -100)), on_owed=lambda: None)
    for _ in range(3):
        await alert.note(WORDS)
        await alert.note("Conflict: terminated by other getUpdates request")
    told = await desk.told()
    assert sorted(told) == sorted((kind, chat) for kind in (Notice.WEBHOOK, Notice.CONFLICT) for chat in (7009, -100))
    clock.advance(days=1)
    # A desk that was started again tells it no second time on one day.
    for each in (alert, ConflictAlert(sqlite_database, clock, Admins((7009, -100)), on_owed=lambda: None)):
        await each.note(WORDS)
    assert [kind for kind, _ in await desk.told()].count(Notice.WEBHOOK) == 4
