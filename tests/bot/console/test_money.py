import asyncio
import os
import sys
from pathlib import Path
from typing import Final

import pytest

from db.engine import Database
from payments.catalog import load_catalog
from payments.effects import OutwardEffects
from payments.incoming import ChargeFact, Person
from payments.payload import Order, PayloadSigner
from payments.quarantine import quarantine
from payments.refunds import REASON_LENGTH_MAX
from payments.settlement import Settlement
from sandbox.history import PastPayment
from sandbox.server import SandboxServer, running_sandbox
from sandbox.settings import Settings
from tests.support.clock import FakeClock
from tests.support.desk import Desk

ROOT: Final = Path(__file__).parents[3]
TOKEN: Final = "1000001:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw-"
BUYER: Final = Person(7001)
CATALOG_FILE: Final = ROOT / "catalog.example.toml"


async def _bot(url: str, server: SandboxServer | None, *arguments: str) -> tuple[int | None, str]:
    """Run the operator's command as a person would, and return its exit status and what it printed."""
    environment = {
        **os.environ,
        "TELEGRAM_BOT_TOKEN": TOKEN,
        "DATABASE_URL": url,
        "CATALOG_FILE": str(CATALOG_FILE),
        "TELEGRAM_API_URL": server.url if server else "http://127.0.0.1:1",
    }
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot", *arguments, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await command.communicate()
    return command.returncode, printed.decode()


async def _buy(server: SandboxServer, database: Database, clock: FakeClock, *, amount: int = 1) -> tuple[Desk, str]:
    """Let a payment of this amount be at Telegram and on record, settled."""
    signer = PayloadSigner(TOKEN)
    payload = signer.sign(Order("day_pass", 1, False, 1, "XTR", BUYER.telegram_id))
    [charge_id] = await server.client.add_past_payments(
        [PastPayment(user_id=BUYER.telegram_id, payload=payload, stars=amount, at=clock())]
    )
    desk = Desk(database, clock, Settlement(load_catalog(CATALOG_FILE), signer, clock, OutwardEffects(clock, [])))
    await desk.take(ChargeFact(charge_id, BUYER, amount, "XTR", payload, clock()))
    return desk, charge_id


async def test_a_refund_from_the_command_line_needs_no_running_desk(
    database: Database, database_url: str, clock: FakeClock
) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server:
        await server.client.add_person("Ann", id=BUYER.telegram_id, started=True)
        desk, charge_id = await _buy(server, database, clock)
        refused = await _bot(database_url, server, "refund", charge_id, "--reason", "x" * (REASON_LENGTH_MAX + 1))
        assert refused == (1, f"{charge_id} is not refunded: a reason has at most {REASON_LENGTH_MAX} characters.\n")
        status, printed = await _bot(database_url, server, "refund", charge_id, "--reason", "a <b>gift</b>")
        assert (status, printed) == (0, f"{charge_id}: 1 XTR given back, the access ended.\n")
        refund = await desk.event(f"refund:{charge_id}")
        assert refund.reason == "a <b>gift</b>"
        assert (refund.requested_by or "").startswith("cli:")
        assert not await desk.holds(person=BUYER)
        status, printed = await _bot(database_url, server, "refund", charge_id)
        assert (status, printed) == (1, f"{charge_id} is not refunded: it was given back before.\n")


async def test_a_refund_while_telegram_is_away_stays_on_record_and_is_listed(
    database: Database, database_url: str, clock: FakeClock
) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server:
        await server.client.add_person("Ann", id=BUYER.telegram_id, started=True)
        _, charge_id = await _buy(server, database, clock)
        status, printed = await _bot(database_url, None, "refund", charge_id)
        assert status == 1
        assert "the refund is on record and goes on by itself" in printed
        status, printed = await _bot(database_url, None, "pending")
        assert status == 0
        assert printed.splitlines()[1] == f"    retry refund:{charge_id}"


@pytest.mark.criterion("E5")
async def test_what_waits_is_listed_and_taken_up_again(database: Database, database_url: str, clock: FakeClock) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server:
        await server.client.add_person("Ann", id=BUYER.telegram_id, started=True)
        assert await _bot(database_url, server, "pending") == (
            0,
            "Nothing waits: every payment and refund has come to its end.\n",
        )
        desk, charge_id = await _buy(server, database, clock, amount=7)
        async with database.transaction() as session:
            await quarantine(session, {"update_id": 1, "message": {}}, "said nothing", [], clock())
        _, printed = await _bot(database_url, server, "pending")
        lines = printed.splitlines()
        assert lines[0].endswith(f"charge  7 XTR  user {BUYER.telegram_id}  parked  wrong_amount")
        assert lines[1] == f"    retry {charge_id}"
        assert lines[2].endswith("update  quarantined  said nothing")
        status, _ = await _bot(database_url, server, "retry", charge_id)
        assert status == 0
        assert (await desk.event(charge_id)).due_at is not None
        assert (await _bot(database_url, server, "retry", "nothing"))[0] == 1
