"""The daemon with the channel of cards open: a payment, and its refund at Stripe, while it polls both."""

from pathlib import Path

import pytest

from db.timings import Timings
from sandbox.checkout import PaymentState
from sandbox.server import SandboxServer, running_sandbox
from sandbox.settings import PROVIDER_TOKEN, STRIPE_KEY, Settings
from tests.support.daemon import TOKEN, running_daemon
from tests.support.waiting import until


@pytest.mark.criterion("S7", "N5")
async def test_the_daemon_sells_by_card_and_hears_of_the_refund_at_stripe(sqlite_url: str, tmp_path: Path) -> None:
    async with running_sandbox(Settings(token=TOKEN, seed=1)) as server:
        ann = await server.client.add_person("Ann", started=True)
        settings = {"PAYMENT_TOKEN": PROVIDER_TOKEN, "STRIPE_SECRET_KEY": STRIPE_KEY, "STRIPE_API_URL": server.url}
        often = Timings(stripe_poll_seconds=0.05)
        with running_daemon(tmp_path, server.url, sqlite_url, timings=often, **settings, LOG_LEVEL="DEBUG") as daemon:
            await server.client.send_text(ann.id, "/buy premium_monthly")
            invoice_id = await _said(server, ann.id, "invoice")
            await server.client.press(ann.id, invoice_id, text="By card: 4.99 USD")
            card_invoice_id = await _said(server, ann.id, "invoice", after=invoice_id)
            payment = await server.client.pay(ann.id, message_id=card_invoice_id)
            assert payment.state is PaymentState.PAID
            [paid] = await server.client.card_charges()
            await _said(server, ann.id, "text", "4.99 USD")
            server.world.stripe.give_back(paid.provider_id)
            await _said(server, ann.id, "text", "was given back")
            assert await daemon.stop() == 0
            assert STRIPE_KEY not in daemon.said()
            assert PROVIDER_TOKEN.partition(":")[2] not in daemon.said()


async def _said(server: SandboxServer, chat_id: int, kind: str, words: str = "", after: int = 0) -> int:
    """Wait until the bot has said something of a kind, and return its message id."""
    found: list[int] = []

    async def is_said() -> bool:
        found[:] = [
            each.message_id
            for each in await server.client.chat(chat_id)
            if each.by_bot and each.message_id > after and kind in each.message and words in each.text()
        ]
        return bool(found)

    await until(is_said)
    return found[-1]
