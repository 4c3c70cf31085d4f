"""The log of a running desk that sells, refunds and meets every kind of error."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from bot.calls.retry_calls import ANSWER
from sandbox.checkout import PaymentState
from sandbox.faults import FaultKind
from sandbox.server import running_sandbox
from sandbox.settings import Settings
from tests.support.daemon import TOKEN, running_daemon
from tests.support.timings import QUICK
from tests.support.waiting import WAIT_SECONDS

OLD_TOKEN: Final = f"{TOKEN.partition(':')[0]}:an-older-token-of-the-same-bot-000000"
STRIPE_KEY: Final = "sk_test_neverToBeSeenInALogLine00"
PROVIDER_TOKEN: Final = "284685063:TEST:NeverToBeSeenEither0"
SECRETS: Final = (
    TOKEN.partition(":")[2],
    OLD_TOKEN.partition(":")[2],
    STRIPE_KEY,
    PROVIDER_TOKEN.rpartition(":")[2],
)
BUYER: Final = 7001
ADMIN: Final = 7002


async def _sell_and_give_back_among_errors(directory: Path, database_url: str) -> str:
    """Return all that a desk says, in JSON and at DEBUG."""
    more = {
        "ADMIN_IDS": str(ADMIN),
        "LOG_LEVEL": "DEBUG",
        "LOG_FORMAT": "json",
        "TELEGRAM_BOT_TOKENS_OLD": OLD_TOKEN,
        "STRIPE_SECRET_KEY": STRIPE_KEY,
        "PAYMENT_TOKEN": PROVIDER_TOKEN,
        "STRIPE_API_URL": "http://127.0.0.1:1",
    }
    async with running_sandbox(Settings(token=TOKEN, seed=1)) as server:
        client = server.client
        await client.add_person("Ann", id=BUYER, balance_stars=1000, started=True)
        await client.add_person("Max", id=ADMIN, started=True)
        with running_daemon(directory, server.url, database_url, timings=QUICK, **more) as daemon:
            await client.wait_until_polling(timeout_seconds=WAIT_SECONDS)
            # Cut connections, errors of the server, a refused call: each on its way into a line.
            await client.add_fault(FaultKind.CUT_BEFORE, "getUpdates")
            await client.add_fault(FaultKind.SERVER_ERROR, "getUpdates")
            await client.send_text(BUYER, "/buy day_pass")
            invoice = await client.wait_for(BUYER, lambda one: "invoice" in one.message, timeout_seconds=WAIT_SECONDS)
            paid = await client.pay(BUYER, message_id=invoice.message_id)
            assert paid.state is PaymentState.PAID
            await client.wait_for_text(BUYER, "Thank you", timeout_seconds=WAIT_SECONDS)
            await client.add_fault(FaultKind.SERVER_ERROR, "sendMessage", count=ANSWER.attempts)
            await client.send_text(BUYER, "/history")
            await daemon.until_said("Telegram did not take an answer")
            await client.send_text(ADMIN, f"/refund {paid.charge_id} a test")
            await client.wait_for_text(ADMIN, "refund", timeout_seconds=WAIT_SECONDS)
            await daemon.until_said("telegram_stars.refunded: refunded")
            assert await daemon.stop() == 0
        return daemon.said()


@pytest.mark.criterion("O1", "O2", "O3", "C10", "S7")
async def test_every_line_of_a_payment_names_it_and_no_line_has_a_secret(tmp_path: Path, sqlite_url: str) -> None:
    said = await _sell_and_give_back_among_errors(tmp_path, sqlite_url)
    assert [secret for secret in SECRETS if secret in said] == []
    lines: list[dict[str, Any]] = [json.loads(line) for line in said.splitlines()]
    assert all(isinstance(value, str | int | float | None) for line in lines for value in line.values()), "flat"
    of_payment = [line for line in lines if line.get("charge_id")]
    assert {line["message"] for line in of_payment} >= {
        "telegram_stars.successful_payment: granted",
        "telegram_stars.refunded: refunded",
        "sent: granted",
    }
    assert [line for line in of_payment if not (line.get("user_id") and line.get("event_type"))] == []
    assert len({line["charge_id"] for line in of_payment}) == 1, "one charge id can be followed"
