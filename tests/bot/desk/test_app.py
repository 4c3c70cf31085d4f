"""The daemon as a process: its start, its reasons to stop, and faults that do not stop it."""

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from sqlalchemy import select, text

from db.engine import Database
from db.lock import desk_lock
from db.states import EventStatus
from db.tables import StripeEvent
from db.timings import Timings
from payments.audit import fact_rows
from payments.audit.facts import ChargeFact, Person
from payments.sale.catalog_file import load_catalog
from payments.sale.payload import Order, PayloadSigner
from sandbox.checkout import PaymentState
from sandbox.faults import FaultKind
from sandbox.server import SandboxServer, running_sandbox
from sandbox.settings import Settings
from tests.support.clock import START
from tests.support.daemon import CATALOG, TOKEN, Daemon, running_daemon
from tests.support.document import run
from tests.support.money import charge_update
from tests.support.obstacles import locked
from tests.support.proxies import proxy_that_answers
from tests.support.timings import QUICK
from tests.support.waiting import WAIT_SECONDS, until

pytestmark = pytest.mark.engines("sqlite", "postgresql")

BUYER: Final = Person(7001, "ann", "en")
TAKE_OVER_SECONDS: Final = 5
"""How soon the second desk goes on after the first one's death."""


@pytest_asyncio.fixture
async def server() -> AsyncIterator[SandboxServer]:
    async with running_sandbox(Settings(token=TOKEN, seed=1)) as server:
        await server.client.add_person("Ann", id=BUYER.telegram_id, balance_stars=1000, started=True)
        yield server


def _charge(charge_id: str = "charge-1") -> ChargeFact:
    plan = load_catalog(CATALOG).on_sale[0]
    order = Order(plan.code, plan.days, plan.subscription, plan.price_stars, "XTR", BUYER.telegram_id)
    return ChargeFact(charge_id, BUYER, plan.price_stars, "XTR", PayloadSigner(TOKEN).sign(order), START)


async def _status(database: Database, event_id: str = "charge-1") -> int | None:
    async with database.reading() as session:
        return await session.scalar(select(StripeEvent.status).where(StripeEvent.event_id == event_id))


async def _record(database: Database, *charge_ids: str) -> None:
    async with database.transaction() as session:
        await fact_rows.record(session, [_charge(charge_id) for charge_id in charge_ids], START)


async def _failed_calls(server: SandboxServer, method: str, count: int) -> None:
    async def are_there() -> bool:
        return sum(call.status != 200 for call in await server.client.calls(method)) >= count

    await until(are_there)


async def _ended_with_one_line(daemon: Daemon) -> tuple[int | None, str]:
    status = await daemon.ended()
    said = daemon.said()
    assert said.count("\n") == 1, said
    assert TOKEN.partition(":")[2] not in said
    return status, said


# Settings that the daemon cannot run with.


@pytest.mark.criterion("S7")
async def test_a_token_that_telegram_does_not_know_ends_it(tmp_path: Path, sqlite_url: str) -> None:
    async with running_sandbox() as server:
        with running_daemon(tmp_path, server.url, sqlite_url, timings=Timings(token_patience_seconds=0)) as daemon:
            status, said = await _ended_with_one_line(daemon)
    assert status == 78
    assert said.startswith("starledger: TELEGRAM_BOT_TOKEN is not a token that Telegram knows: put ")


@pytest.mark.parametrize(
    ("catalog", "mistakes", "words"),
    [
        (None, 0, "there is no such file; copy catalog.example.toml to it"),
        ("[plans.x", 0, "not TOML"),
        ('[plans.x]\ntitle = "X"\n', 2, "plans.x.stars"),
    ],
)
async def test_a_catalog_that_cannot_be_used_ends_it(
    server: SandboxServer, tmp_path: Path, sqlite_url: str, catalog: str | None, mistakes: int, words: str
) -> None:
    if catalog is not None:
        (tmp_path / "plans.toml").write_text(catalog)
    with running_daemon(tmp_path, server.url, sqlite_url, CATALOG_FILE="plans.toml") as daemon:
        assert await daemon.ended() == 78
    first, *more = daemon.said().splitlines()
    assert first.startswith("starledger: CATALOG_FILE is no catalog to sell from: mend the file, or put ")
    assert "plans.toml" in first
    assert len(more) == mistakes
    assert words in daemon.said()


async def test_the_database_of_another_bot_ends_it(server: SandboxServer, tmp_path: Path, sqlite_url: str) -> None:
    another = f"1000002:{TOKEN.partition(':')[2]}"
    with running_daemon(tmp_path, server.url, sqlite_url, TELEGRAM_BOT_TOKEN=another) as daemon:
        status, said = await _ended_with_one_line(daemon)
    assert status == 78
    assert said.startswith("starledger: the database belongs to the bot 1000001")
    assert await server.client.calls() == []


async def test_a_second_desk_on_sqlite_says_so_and_ends(server: SandboxServer, tmp_path: Path, sqlite_url: str) -> None:
    with running_daemon(tmp_path, server.url, sqlite_url) as first:
        await server.client.wait_until_polling(timeout_seconds=WAIT_SECONDS)
        with running_daemon(tmp_path, server.url, sqlite_url) as second:
            status, said = await _ended_with_one_line(second)
        assert status == 1
        assert said.startswith("starledger: another desk is running on this database (")
        assert await first.stop() == 0
    assert len(await server.client.calls("getMe")) == 1


# The daemon's waits.


@pytest.mark.criterion("E1")
async def test_a_telegram_that_is_away_is_waited_for_and_told_of_once(
    server: SandboxServer, tmp_path: Path, sqlite_url: str
) -> None:
    await server.client.set_away(away=True)
    contact = "@shop_support"
    with running_daemon(tmp_path, server.url, sqlite_url, timings=QUICK, SUPPORT_CONTACT=contact) as daemon:
        await _failed_calls(server, "getMe", 5)
        assert daemon.said().count("Telegram cannot be reached, trying on") == 1
        # Its menu of commands is not worth an end either.
        await server.client.add_fault(FaultKind.CUT_BEFORE, "setMyCommands")
        await server.client.set_away(away=False)
        await server.client.wait_until_polling(timeout_seconds=WAIT_SECONDS)
        assert daemon.said().count("Telegram answers again") == 1

        await server.client.set_away(away=True)
        await _failed_calls(server, "getUpdates", 5)
        await server.client.set_away(away=False)
        await server.client.send_text(BUYER.telegram_id, "/paysupport")
        await server.client.wait_for_text(BUYER.telegram_id, contact, timeout_seconds=WAIT_SECONDS)
        assert await daemon.stop() == 0
    assert daemon.said().count("Telegram cannot be reached, trying on") == 2
    assert daemon.said().count("Telegram answers again") == 2
    assert "Traceback" not in daemon.said()


@pytest.mark.criterion("E1")
async def test_a_proxy_that_answers_in_telegrams_place_is_waited_out(tmp_path: Path, sqlite_url: str) -> None:
    async with proxy_that_answers() as proxy:
        with running_daemon(tmp_path, proxy.url, sqlite_url) as daemon:
            await daemon.until_said("Telegram's answer cannot be read, trying on: ClientDecodeError: JSONDecodeError")
            assert await daemon.stop() == 0
    assert "Traceback" not in daemon.said()


@pytest.mark.criterion("E2")
async def test_a_database_that_is_away_at_the_start_is_waited_for(
    server: SandboxServer, tmp_path: Path, sqlite_url: str, sqlite_database: Database
) -> None:
    impatient = Timings(migration_wait_seconds=0.1, database_pause_seconds=0.1)
    with ExitStack() as stack:
        async with locked(sqlite_database, sqlite_url, "desk"):
            daemon = stack.enter_context(running_daemon(tmp_path, server.url, sqlite_url, timings=impatient))
            await daemon.until_said("the database cannot be reached, trying on: OperationalError")
        await server.client.wait_until_polling(timeout_seconds=WAIT_SECONDS)
        assert await daemon.stop() == 0
    assert daemon.said().count("the database cannot be reached") == 1
    assert daemon.said().count("the database answers") == 1
    assert "stamina" not in daemon.said()


async def test_a_second_desk_on_postgresql_goes_on_when_the_first_is_killed(
    server: SandboxServer, tmp_path: Path, postgresql_url: str
) -> None:
    client = server.client
    with running_daemon(tmp_path, server.url, postgresql_url) as first:
        await client.wait_until_polling(timeout_seconds=WAIT_SECONDS)
        with running_daemon(tmp_path, server.url, postgresql_url) as second:
            await second.until_said("another desk is running on this database: standing by")
            lived = (await client.calls())[-1].number
            first.process.kill()
            await client.wait_for_call("getMe", after=lived, timeout_seconds=TAKE_OVER_SECONDS)
            await client.wait_until_polling(timeout_seconds=WAIT_SECONDS)
            assert await second.stop() == 0


async def test_a_desk_that_was_suspended_ends_at_once_when_another_has_taken_over(
    server: SandboxServer, tmp_path: Path, postgresql_url: str
) -> None:
    with running_daemon(tmp_path, server.url, postgresql_url) as daemon:
        await server.client.wait_until_polling(timeout_seconds=WAIT_SECONDS)
        daemon.signal(signal.SIGSTOP)
        await run(
            postgresql_url,
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE locktype = 'advisory' AND datname = current_database()",
        )
        another = desk_lock(postgresql_url)
        await another.acquire()
        daemon.signal(signal.SIGCONT)
        assert await daemon.ended() == 1
        await another.release()
    assert daemon.said().endswith("starledger: another desk has taken over this database\n")


# The daemon's start.


@pytest.mark.criterion("C3", "E2")
async def test_open_charge_is_settled_before_the_first_poll(
    server: SandboxServer, tmp_path: Path, database_url: str, database: Database
) -> None:
    await _record(database, "charge-1")
    await server.client.add_fault(FaultKind.HOLD, "getUpdates")
    with running_daemon(tmp_path, server.url, database_url) as daemon:
        await server.client.wait_until_held(timeout_seconds=WAIT_SECONDS)
        assert await _status(database) == EventStatus.PROCESSED
        await server.client.release_holds()
        await server.client.wait_for_text(BUYER.telegram_id, "Thank you", timeout_seconds=WAIT_SECONDS)
        assert await daemon.stop() == 0


async def test_a_stop_does_not_wait_for_what_it_begins_with(
    server: SandboxServer, tmp_path: Path, postgresql_url: str, postgresql_database: Database
) -> None:
    await _record(postgresql_database, *(f"charge-{n}" for n in range(10)))
    with running_daemon(tmp_path, server.url, postgresql_url) as daemon:
        async with locked(postgresql_database, postgresql_url, "entitlement_grants"):
            await daemon.until_said("an event is left alone")
            assert await daemon.stop() == 0
    assert "unfinished" not in daemon.said()
    assert await server.client.calls("getUpdates") == []


async def test_the_poll_does_not_wait_for_the_menus_of_commands(
    server: SandboxServer, tmp_path: Path, sqlite_url: str
) -> None:
    await server.client.add_fault(FaultKind.HOLD, "setMyCommands")
    with running_daemon(tmp_path, server.url, sqlite_url) as daemon:
        await server.client.wait_until_held(timeout_seconds=WAIT_SECONDS)
        await server.client.wait_until_polling(timeout_seconds=WAIT_SECONDS)
        await server.client.release_holds()

        async def is_registered() -> bool:
            return bool(await server.client.commands(BUYER.telegram_id))

        await until(is_registered)
        assert await daemon.stop() == 0


async def test_pre_checkout_is_answered_while_all_else_that_a_start_begins_hangs(
    server: SandboxServer, tmp_path: Path, database_url: str, database: Database
) -> None:
    client = server.client
    with running_daemon(tmp_path, server.url, database_url) as daemon:
        await client.send_text(BUYER.telegram_id, "/buy day_pass")
        invoice = await client.wait_for(BUYER.telegram_id, lambda found: "invoice" in found.message)
        assert await daemon.stop() == 0
    await _record(database, "charge-1")
    begun = ("sendMessage", "setMyCommands", "getStarTransactions")
    for method in begun:
        await client.add_fault(FaultKind.HOLD, method, count=100)
    with running_daemon(tmp_path, server.url, database_url) as daemon:

        async def all_hang() -> bool:
            return (await client.faults()).held >= len(begun)

        await until(all_hang)
        paid = await client.pay(BUYER.telegram_id, message_id=invoice.message_id)
        assert paid.state is PaymentState.PAID
        assert (await client.faults()).held >= len(begun)
        await client.clear_faults()
        assert await daemon.stop() == 0


# Faults that the daemon survives.


@pytest.mark.criterion("E2", "C1", "L2")
async def test_while_its_database_is_away_nobody_pays_and_no_payment_is_lost(
    server: SandboxServer, tmp_path: Path, database_url: str, database: Database
) -> None:
    client, ann = server.client, BUYER.telegram_id
    with running_daemon(tmp_path, server.url, database_url) as daemon:
        await client.send_text(ann, "/buy premium_monthly")
        invoice = await client.wait_for(ann, lambda one: "invoice" in one.message, timeout_seconds=WAIT_SECONDS)
        async with AsyncExitStack() as stack:
            # The file on SQLite; on PostgreSQL the tables.
            for table in ("checkouts",) if database.is_sqlite else ("checkouts", "stripe_events"):
                await stack.enter_async_context(locked(database, database_url, table))
            await client.push_raw(charge_update(_charge()))
            await daemon.until_said("payments wait, unconfirmed, at Telegram")
            declined = await client.pay(ann, message_id=invoice.message_id)
            assert declined.state is PaymentState.DECLINED
            assert declined.error_message == (
                "We cannot take payments this minute. Please try again in a minute. Nothing was charged."
            )
            assert len(await client.calls("answerPreCheckoutQuery")) == 1
        await client.wait_for_text(ann, "Thank you", timeout_seconds=WAIT_SECONDS)
        await client.wait_until_confirmed(timeout_seconds=WAIT_SECONDS)
        paid = await client.pay(ann, message_id=invoice.message_id)
        assert paid.state is PaymentState.PAID
        assert await daemon.stop() == 0
    assert daemon.said().count("payments wait, unconfirmed, at Telegram") == 1
    assert daemon.said().count("payments are recorded and confirmed again") == 1


# The daemon's end.


@pytest.mark.criterion("C7", "C9", "S8")
async def test_a_payment_that_is_being_handled_is_finished_before_the_end(
    server: SandboxServer, tmp_path: Path, postgresql_url: str, postgresql_database: Database
) -> None:
    with running_daemon(tmp_path, server.url, postgresql_url) as daemon:
        await server.client.wait_until_polling(timeout_seconds=WAIT_SECONDS)
        async with locked(postgresql_database, postgresql_url, "entitlement_grants"):
            await server.client.push_raw(charge_update(_charge()))

            async def is_under_way() -> bool:
                query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = "
                async with postgresql_database.reading() as session:
                    return bool((await session.execute(text(query + "current_database()"))).scalar_one())

            await until(is_under_way)
            assert await _status(postgresql_database) == EventStatus.PENDING
            daemon.signal()
            await daemon.until_said("stopping")
        assert await daemon.ended() == 0
    assert await _status(postgresql_database) == EventStatus.PROCESSED
    assert await server.client.updates_waiting() == []


async def test_an_answer_that_is_being_given_is_finished_before_the_end(
    server: SandboxServer, tmp_path: Path, sqlite_url: str
) -> None:
    await server.client.add_fault(FaultKind.HOLD, "sendMessage")
    with running_daemon(tmp_path, server.url, sqlite_url) as daemon:
        await server.client.send_text(BUYER.telegram_id, "/help")
        await server.client.wait_until_held(timeout_seconds=WAIT_SECONDS)
        daemon.signal()
        await daemon.until_said("stopping")
        await server.client.release_holds()
        assert await daemon.ended() == 0
    assert "What you can do here" in (await server.client.chat(BUYER.telegram_id))[-1].text()
    assert await server.client.updates_waiting() == []


async def test_a_second_signal_ends_it_at_once(server: SandboxServer, tmp_path: Path, sqlite_url: str) -> None:
    await server.client.add_fault(FaultKind.HOLD, "sendMessage")
    with running_daemon(tmp_path, server.url, sqlite_url) as daemon:
        await server.client.send_text(BUYER.telegram_id, "/help")
        await server.client.wait_until_held(timeout_seconds=WAIT_SECONDS)
        daemon.signal()
        await daemon.until_said("stopping")
        assert await daemon.stop() == 1
    assert "not answered within" not in daemon.said()


async def test_hanging_answer_does_not_keep_the_daemon_from_its_end(
    server: SandboxServer, tmp_path: Path, sqlite_url: str
) -> None:
    timings = Timings(end_seconds=0.1, finish_seconds=60)
    await server.client.add_fault(FaultKind.HOLD, "sendMessage")
    with running_daemon(tmp_path, server.url, sqlite_url, timings=timings) as daemon:
        await server.client.send_text(BUYER.telegram_id, "/help")
        await server.client.wait_until_held(timeout_seconds=WAIT_SECONDS)
        assert await daemon.stop() == 0
    assert "stopped with something unfinished" in daemon.said()
