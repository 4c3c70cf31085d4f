"""`doctor` on desks that lack something."""

import json
import re
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from sqlalchemy import text

from bot.console.doctor import telegram
from bot.monitoring.health import Health
from bot.monitoring.http import monitoring_server
from bot.poll.intake import ALLOWED_UPDATES
from db.tables import StripeReading
from payments.ledger import progress
from payments.notices import Admins
from payments.recording.quarantine import quarantine_update
from sandbox.ledger import OtherRow
from sandbox.server import SandboxServer, running_sandbox
from sandbox.settings import Settings
from tests.support.clock import FakeClock
from tests.support.commands import TOKEN, Commands
from tests.support.desk import Desk
from tests.support.document import run
from tests.support.money import charge
from tests.support.ports import free_port
from tests.support.stripe_account import KEY as STRIPE_KEY
from tests.support.stripe_account import Fault, running_stripe_account
from tests.support.subscription_facts import give_up, paid

pytestmark = pytest.mark.engines("sqlite", "postgresql")

only_sqlite = pytest.mark.engines("sqlite")


@pytest_asyncio.fixture
async def server(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SandboxServer]:  # noqa: ARG001 - whose Telegram it is
    async with running_sandbox(Settings(token=TOKEN, seed=1)) as running:
        monkeypatch.setenv("TELEGRAM_API_URL", running.url)
        monkeypatch.setenv("ADMIN_IDS", "7")
        monkeypatch.setenv("SUPPORT_CONTACT", "@shop_support")
        yield running


async def examined(commands: Commands, *arguments: str, status: int = 0) -> dict[str, tuple[str, str]]:
    """Return what `doctor` says: by subject the level and the words, with the mend."""
    said = await commands.prints("doctor", *arguments, status=status)
    found: dict[str, tuple[str, str]] = {}
    for level, subject, words in re.findall(
        r"^(ok|warning|failure) +([^:\n]+): (.+(?:\n {9}.+)*)$", said, re.MULTILINE
    ):
        found[subject] = (level, words)
    return found


@pytest.mark.usefixtures("server")
async def test_a_desk_that_is_well_gets_a_line_for_each_thing(commands: Commands) -> None:
    found = await examined(commands)
    assert {subject: level for subject, (level, _) in found.items() if level != "ok"} == {}
    assert found.keys() - {"disk"} == {
        ".env",
        "settings",
        "catalog",
        "database",
        "plans sold",
        "decisions",
        "queue",
        "access",
        "ledger",
        "desk",
        "token",
        "webhook",
        "updates",
        "clock",
        "balance",
    }
    assert found["balance"] == ("ok", "0 Stars")


@only_sqlite
async def test_wrong_settings_are_told_and_end_it(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_IDS", "everybody")
    found = await examined(commands, status=1)
    assert found.keys() == {".env", "settings"}
    assert found["settings"][1].startswith("ADMIN_IDS is wrong: it takes the admins' Telegram ids")


@only_sqlite
@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(("setting", "subject"), [("ADMIN_IDS", "admins"), ("SUPPORT_CONTACT", "contact")])
async def test_doctor_warns_of_missing_admins_and_contact(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, setting: str, subject: str
) -> None:
    monkeypatch.delenv(setting)
    level, words = (await examined(commands))[subject]
    assert (level, words.endswith(f"into {setting}")) == ("warning", True)


@only_sqlite
@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("mode", "level", "mend"),
    [(0o600, "ok", ""), (0o640, "ok", ""), (0o644, "failure", "o="), (0o660, "warning", "g-w")],
)
async def test_env_file_that_others_can_read_is_a_failure(commands: Commands, mode: int, level: str, mend: str) -> None:
    file = commands.directory / ".env"
    file.write_text("LOG_LEVEL=INFO\n")
    file.chmod(mode)
    found = (await examined(commands, status=1 if level == "failure" else 0))[".env"]
    assert found[0] == level
    assert mend in found[1]


@only_sqlite
@pytest.mark.usefixtures("server")
async def test_a_catalog_that_cannot_be_used(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATALOG_FILE", "nowhere.toml")
    found = await examined(commands, status=1)
    assert found["catalog"][0] == "failure"
    assert "there is no such file" in found["catalog"][1]
    assert found["token"][0] == "ok", "the rest is looked at all the same"


@pytest.mark.usefixtures("server")
async def test_a_plan_that_was_sold_and_is_gone(commands: Commands, desk: Desk) -> None:
    await desk.take(charge(code="bundle"))
    found = (await examined(commands, status=1))["plans sold"]
    assert found[0] == "failure"
    assert "not in the catalog any more: bundle" in found[1]
    assert "retired = true" in found[1]


@pytest.mark.usefixtures("server")
async def test_doctor_counts_waiting_decisions_and_failed_attempts(commands: Commands, desk: Desk) -> None:
    await desk.take(charge("c1", payload="sl1:month:30:200:XTR:5001:00:00"))
    async with desk.database.transaction() as session:
        await quarantine_update(session, {"update_id": 1, "message": {}}, "said nothing", Admins(), desk.clock())
        await session.execute(text("UPDATE stripe_events SET due_at = created_at"))
    found = await examined(commands)
    assert found["decisions"][1].startswith("0 payments or refunds wait for you, 1 updates could not be recorded")
    level, words = found["attempts"]
    assert level == "warning"
    assert words.startswith("1 are tried again and again, the oldest since 2026-03-01 12:00 UTC\n")
    assert words.endswith("mend: `pending` says why they fail")


@pytest.mark.criterion("N3")
@pytest.mark.usefixtures("server")
async def test_a_subscription_that_could_not_be_cancelled_waits_for_a_person(commands: Commands, desk: Desk) -> None:
    await desk.take(paid(1))
    await give_up(desk)
    # 1: its plan is not in the catalog that the command reads.
    level, words = (await examined(commands, status=1))["decisions"]
    assert level == "warning"
    assert "1 subscriptions could not be cancelled" in words
    listed = await commands.prints("pending")
    assert listed.splitlines() == [
        "renews 2026-03-31 12:00 UTC  renewal  150 XTR  user 5001  not cancelled  CHARGE_ID_INVALID",
        "    retry renewal:sub-1",
    ]


@pytest.mark.usefixtures("server")
async def test_the_drift_of_the_ledger(commands: Commands, desk: Desk) -> None:
    async with desk.database.transaction() as session:
        stand = await progress.lock(session)
        stand.event_stars, stand.payment_stars, stand.compared_at = 207, 200, desk.clock()
    level, words = (await examined(commands, status=1))["ledger"]
    assert level == "failure"
    assert "our rows have 7 Stars more" in words
    async with desk.database.transaction() as session:
        await progress.mark_unfinished(session, desk.clock())
    level, words = (await examined(commands))["ledger"]
    assert level == "warning"
    assert "a pass over the whole of it is wanted" in words


@pytest.mark.usefixtures("server")
async def test_the_reading_of_stripes_events_is_told_with_those_that_are_not_ours(
    commands: Commands, desk: Desk
) -> None:
    assert "stripe events" not in await examined(commands)
    async with desk.database.transaction() as session:
        session.add(StripeReading(foreign_count=4, read_at=desk.clock()))
    level, words = (await examined(commands))["stripe events"]
    assert level == "ok"
    assert words.endswith("4 of them about charges that are not ours")


@only_sqlite
@pytest.mark.usefixtures("server")
async def test_a_database_that_is_not_ours_to_use(
    commands: Commands, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(database_url, "UPDATE desk SET bot_id = 9")
    found = (await examined(commands, status=1))["database"]
    assert found[1].startswith("belongs to the bot 9, the token is of 1000001")
    await run(database_url, "UPDATE desk SET bot_id = 1000001", "UPDATE starledger_version SET version_num = '9999'")
    assert "of a newer Starledger" in (await examined(commands, status=1))["database"][1]
    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://desk:hush-hush@127.0.0.1:1/desk")
    found = (await examined(commands, status=1))["database"]
    assert found[1].startswith("does not answer: ")
    assert "hush-hush" not in found[1]


@pytest.mark.usefixtures("server")
async def test_a_database_that_is_empty_or_older_is_left_as_it_is(
    commands: Commands, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    level, words = (await examined(commands))["database"]
    assert level == "warning"
    assert "is not there yet" in words or "is empty" in words
    if empty_database_url.startswith("sqlite"):
        assert not (commands.directory / "empty.sqlite").exists()


@only_sqlite
@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(("free", "level"), [(50_000_000, "failure"), (500_000_000, "warning"), (5_000_000_000, "ok")])
async def test_the_room_on_the_disk(commands: Commands, monkeypatch: pytest.MonkeyPatch, free: int, level: str) -> None:
    # A disk that is nearly full is not to be had.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert (await examined(commands, status=1 if level == "failure" else 0))["disk"][0] == level


@only_sqlite
@pytest.mark.usefixtures("server")
async def test_the_running_desk_is_asked(commands: Commands, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("HTTP_PORT", str(port))
    level, words = (await examined(commands, status=1))["desk"]
    assert level == "failure"
    assert "systemctl start starledger" in words
    health = Health(clock)
    gauges: Any = None
    async with monitoring_server(port, health, gauges):
        assert "it has not come to its first poll" in (await examined(commands, status=1))["desk"][1]
        health.begin()
        assert (await examined(commands))["desk"] == ("ok", "healthy")
        health.note("worker", "the database is away: OSError")
        words = (await examined(commands, status=1))["desk"][1]
        assert words.startswith("degraded: worker since 2026-03-01T12:00:00+00:00: the database is away: OSError")


@only_sqlite
async def test_a_token_that_telegram_does_not_know_and_a_telegram_that_is_away(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "can this machine reach http://127.0.0.1:1?" in (await examined(commands, status=1))["telegram"][1]
    async with running_sandbox() as server:
        monkeypatch.setenv("TELEGRAM_API_URL", server.url)
        assert (await examined(commands, status=1))["token"][1].startswith("is not one that Telegram knows")


@only_sqlite
@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(("seconds", "level"), [(0, "ok"), (-20, "warning"), (90, "failure")])
async def test_a_clock_that_is_off(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, seconds: int, level: str
) -> None:
    date_of = telegram._date_of

    async def off(address: str) -> Any:
        return await date_of(address) - timedelta(seconds=seconds)

    monkeypatch.setattr(telegram, "_date_of", off)
    found = (await examined(commands, status=1 if level == "failure" else 0))["clock"]
    assert found[0] == level
    assert "ahead of" in found[1] or seconds <= 0


class WithWebhook:
    """A Bot API server that has a webhook: the sandbox has none, since it delivers to nobody."""

    def __init__(self) -> None:
        self.url = "https://example.org/hook"
        self.dropped: object = None

    async def answer(self, request: web.Request) -> web.Response:
        method = request.path.rpartition("/")[2]
        if method == "deleteWebhook":
            self.url, self.dropped = "", dict(await request.post()).get("drop_pending_updates")
        results: dict[str, Any] = {
            "getMe": {"id": 1, "is_bot": True, "first_name": "D", "username": "desk_bot"},
            "getWebhookInfo": {
                "url": self.url,
                "has_custom_certificate": False,
                "pending_update_count": 3,
                "allowed_updates": ["message"],
            },
            "getMyStarBalance": {"amount": 5},
        }
        return web.json_response({"ok": True, "result": results.get(method, True)})


@only_sqlite
async def test_a_webhook_left_over_is_told_and_removed_when_asked_to(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooked = WithWebhook()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", hooked.answer)
    async with TestServer(application) as server:
        monkeypatch.setenv("TELEGRAM_API_URL", str(server.make_url("")))
        found = await examined(commands, status=1)
        assert found["webhook"][0] == "failure"
        assert "`doctor --remove-webhook`" in found["webhook"][1]
        assert found["updates"][1].startswith("Telegram was last asked for others, without callback_query, ")
        assert hooked.url
        found = await examined(commands, "--remove-webhook")
        assert found["webhook"] == ("ok", "one was set, and is removed")
        assert (hooked.url, hooked.dropped) == ("", "false")


async def test_a_person_is_asked_before_a_webhook_is_removed() -> None:
    questions: list[str] = []

    def no(question: str) -> bool:
        questions.append(question)
        return False

    info: Any = SimpleNamespace(url="https://example.org/hook")
    bot: Any = None
    finding = await telegram._look_at_webhook(bot, info, no)
    assert finding.level == "failure"
    assert questions == ["one is set, and Telegram gives no update to a poll. Remove it?"]


@only_sqlite
@pytest.mark.usefixtures("server")
async def test_stripe_is_asked_when_there_is_a_key(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_stripe_account(FakeClock()) as account:
        monkeypatch.setenv("STRIPE_API_URL", account.url)
        monkeypatch.setenv("STRIPE_SECRET_KEY", STRIPE_KEY)
        found = await examined(commands)
        assert found["stripe"] == ("ok", "answers and knows the key; cards are no longer taken, refunds go on")
        account.key = "sk_test_another"
        level, words = (await examined(commands, status=1))["stripe"]
        assert (level, words.partition(" mend")[0].strip()) == (
            "failure",
            "Stripe does not know the key in STRIPE_SECRET_KEY",
        )
        account.key = STRIPE_KEY
        account.faults.append(Fault.BROKEN)
        level, words = (await examined(commands, status=1))["stripe"]
        assert (level, words.startswith("cannot be asked: APIError: HTTP 500")) == ("failure", True)


@only_sqlite
async def test_a_server_that_is_too_old_is_named(commands: Commands, server: SandboxServer) -> None:
    await server.client.set_switches(server_before_9=True)
    found = await examined(commands, status=1)
    assert found["server"][0] == "failure"
    assert "older than Bot API 9.1" in found["server"][1]
    assert found["token"][0] == "ok"
    ann = await server.client.add_person("Ann")
    await server.client.add_other(OtherRow.FOREIGN_PAYMENT, 5, user_id=ann.id)
    found = await examined(commands, status=1)
    assert "older than Bot API 9.0" in found["server"][1]
    assert "TELEGRAM_API_URL" in found["server"][1]


@only_sqlite
async def test_a_server_that_does_not_know_subscriptions_may_be_too_old(
    commands: Commands, server: SandboxServer
) -> None:
    await server.client.set_switches(server_before_9=True)
    server.world.queue.allow(json.dumps(ALLOWED_UPDATES))
    level, words = (await examined(commands, status=1))["updates"]
    assert level == "warning"
    assert "without subscription" in words
    assert "older than Bot API 10.2" in words
