from typing import Final

import pytest

from db.engine import Database
from payments.audit.facts import ChargeFact, Person
from payments.effects import OutwardEffects
from payments.notices import Admins
from payments.recording.quarantine import quarantine_update
from payments.refunds.requests import REASON_LENGTH_MAX
from payments.sale.catalog_file import load_catalog
from payments.sale.payload import Order, PayloadSigner
from payments.settlement.settlement import Settlement
from payments.subscriptions.chain import Terms
from sandbox.history import PastPayment
from sandbox.server import SandboxServer, running_sandbox
from sandbox.settings import Settings
from tests.support.cards import sell
from tests.support.clock import FakeClock
from tests.support.commands import CATALOG_FILE, TOKEN, Commands
from tests.support.desk import Desk
from tests.support.stripe_account import KEY, running_stripe_account

BUYER: Final = Person(7001)


async def _buy(server: SandboxServer, database: Database, clock: FakeClock, *, amount: int = 1) -> tuple[Desk, str]:
    """Let a payment of this amount be at Telegram and on record, settled."""
    signer = PayloadSigner(TOKEN)
    payload = signer.sign(Order("day_pass", 1, False, 1, "XTR", BUYER.telegram_id))
    [charge_id] = await server.client.add_past_payments(
        [PastPayment(user_id=BUYER.telegram_id, payload=payload, stars=amount, at=clock())]
    )
    desk = Desk(
        database,
        clock,
        Settlement(load_catalog(CATALOG_FILE), signer, clock, OutwardEffects(clock, Admins()), terms=Terms()),
    )
    await desk.take(ChargeFact(charge_id, BUYER, amount, "XTR", payload, clock()))
    return desk, charge_id


async def test_a_refund_from_the_command_line_needs_no_running_desk(
    database: Database, commands: Commands, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server:
        monkeypatch.setenv("TELEGRAM_API_URL", server.url)
        await server.client.add_person("Ann", id=BUYER.telegram_id, started=True)
        desk, charge_id = await _buy(server, database, clock)
        refused = await commands.prints("refund", charge_id, "--reason", "x" * (REASON_LENGTH_MAX + 1), status=1)
        assert refused == f"{charge_id} is not refunded: a reason has at most {REASON_LENGTH_MAX} characters.\n"
        printed = await commands.prints("refund", charge_id, "--reason", "a <b>gift</b>")
        assert printed == f"{charge_id}: 1 XTR given back, the access ended.\n"
        refund = await desk.event(f"refund:{charge_id}")
        assert refund.reason == "a <b>gift</b>"
        assert (refund.requested_by or "").startswith("cli:")
        assert not await desk.holds(person=BUYER)
        printed = await commands.prints("refund", charge_id, status=1)
        assert printed == f"{charge_id} is not refunded: it was given back before.\n"


@pytest.mark.criterion("R8")
async def test_a_refund_by_card_from_the_command_line_is_of_what_is_left_at_stripe(
    desk: Desk, commands: Commands, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_stripe_account(clock) as account:
        monkeypatch.setenv("STRIPE_SECRET_KEY", KEY)
        monkeypatch.setenv("STRIPE_API_URL", account.url)
        crossed, gone = await sell(desk, account), await sell(desk, account)
        account.give_back(crossed, 100)
        printed = await commands.prints("refund", f"stripe:{crossed}")
        assert printed == f"stripe:{crossed}: 3.99 USD given back, the access ended.\n"
        assert account.refunded(crossed) == 499
        account.give_back(gone, 100)
        account.give_back(gone)
        printed = await commands.prints("refund", f"stripe:{gone}", status=1)
        assert printed.startswith(f"stripe:{gone}: nothing was left, all of it had already been given back another way")


async def test_a_refund_while_telegram_is_away_stays_on_record_and_is_listed(
    database: Database, commands: Commands, clock: FakeClock
) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server:
        await server.client.add_person("Ann", id=BUYER.telegram_id, started=True)
        _, charge_id = await _buy(server, database, clock)
        printed = await commands.prints("refund", charge_id, status=1)
        assert "the refund is on record and goes on by itself" in printed
        printed = await commands.prints("pending")
        assert printed.splitlines()[1] == f"    retry refund:{charge_id}"


@pytest.mark.criterion("E5")
async def test_waiting_payments_are_listed_and_retried(
    database: Database, commands: Commands, clock: FakeClock
) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server:
        await server.client.add_person("Ann", id=BUYER.telegram_id, started=True)
        assert await commands.prints("pending") == "Nothing waits: every payment and refund has come to its end.\n"
        desk, charge_id = await _buy(server, database, clock, amount=7)
        async with database.transaction() as session:
            await quarantine_update(session, {"update_id": 1, "message": {}}, "said nothing", Admins(), clock())
        lines = (await commands.prints("pending")).splitlines()
        assert lines[0].endswith(f"charge  7 XTR  user {BUYER.telegram_id}  parked  wrong_amount")
        assert lines[1] == f"    retry {charge_id}"
        assert lines[2].endswith("update  quarantined  said nothing")
        await commands.prints("retry", charge_id)
        assert (await desk.event(charge_id)).due_at is not None
        await commands.prints("retry", "nothing", status=1)
