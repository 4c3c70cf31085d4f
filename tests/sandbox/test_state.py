"""A sandbox kept in a file resumes at its last state."""

from datetime import timedelta
from pathlib import Path

import pytest
from aiogram.types import BotCommand, BufferedInputFile, LabeledPrice

from sandbox.checkout import PaymentState
from sandbox.client import SandboxClient
from sandbox.invoices import SUBSCRIPTION_PERIOD_SECONDS
from sandbox.server import SandboxServer, running_sandbox
from sandbox.settings import PROVIDER_TOKEN, Settings
from sandbox.state import StateError
from sandbox.subscriptions import SubscriptionState
from tests.support.bots import talking_bot
from tests.support.waiting import until

TOKEN = "7:SevenSevenSeven"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sandbox.json"


def read(file: Path) -> str:
    return file.read_text()


def write(file: Path, content: str) -> None:
    file.write_text(content)


async def bought(server: SandboxServer, user_id: int) -> str:
    """Let a person take a subscription of 70 Stars, and a book by card, in part given back; gives the first's id."""
    async with talking_bot(server.url, server.token) as bot:
        link = await bot.create_invoice_link(
            "Club", "Monthly", "club", "XTR", [LabeledPrice(label="Club", amount=70)],
            subscription_period=SUBSCRIPTION_PERIOD_SECONDS,
        )  # fmt: skip
        payment = await server.client.start_payment(user_id, offer=link)
        assert payment.query_id is not None
        await bot.answer_pre_checkout_query(payment.query_id, ok=True)
        await bot.send_document(user_id, BufferedInputFile(b"\x00\xff", "odd.bin"))
        await bot.set_my_commands([BotCommand(command="buy", description="Plans")])
        await server.client.start_payment(user_id, offer=link)
        book = await bot.create_invoice_link(
            "Book", "Paper", "book", "USD", [LabeledPrice(label="Book", amount=499)], provider_token=PROVIDER_TOKEN
        )
        by_card = await server.client.start_payment(user_id, offer=book)
        assert by_card.query_id is not None
        await bot.answer_pre_checkout_query(by_card.query_id, ok=True)
        [charge] = await server.client.card_charges()
        await server.client.stripe_give_back(charge.provider_id, 100)
    (subscription,) = await server.client.subscriptions()
    return subscription.id


async def told(client: SandboxClient, user_id: int) -> list[object]:
    """Give what a person and the bot's owner see."""
    return [
        await client.persons(),
        await client.groups(),
        await client.chat(user_id),
        await client.ledger(),
        await client.charges(),
        await client.card_charges(),
        await client.stripe_charges(),
        await client.subscriptions(),
        await client.commands(user_id),
        await client.updates_waiting(),
    ]


async def test_sandbox_goes_on_from_its_state_file(file: Path) -> None:
    async with running_sandbox(Settings(token=TOKEN, seed=1), state_file=file) as server:
        ann = await server.client.add_person("Änn 🙂 \ud83d", balance_stars=500, started=True)
        await server.client.add_group("Readers", member_ids=[ann.id])
        subscription_id = await bought(server, ann.id)
        await server.client.move_clock(timedelta(days=1).total_seconds())
        before = await told(server.client, ann.id)
    # The token is the file's; the same seed gives no identifier for a second time.
    async with running_sandbox(Settings(seed=1), state_file=file) as server:
        client = server.client
        assert server.token == TOKEN
        assert await told(client, ann.id) == before
        states = [PaymentState.PAID, PaymentState.TIMED_OUT, PaymentState.PAID]
        assert [payment.state for payment in await client.payments()] == states
        assert (await client.clock()).offset_seconds == timedelta(days=1).total_seconds()
        [given_back] = (await client.stripe_charges())[0].refunds
        assert [each["data"]["object"]["id"] for each in server.world.stripe.events][-1] == given_back["charge"]
        document = next(found.message["document"] for found in await client.chat(ann.id) if "document" in found.message)
        assert await client.file(document["file_id"]) == b"\x00\xff"
        await client.move_clock(timedelta(days=30).total_seconds())
        (subscription,) = await client.subscriptions()
        assert (subscription.id, subscription.state) == (subscription_id, SubscriptionState.ACTIVE)
        assert len({charge.id for charge in await client.charges()}) == 2
        ids = [found.message_id for found in await client.chat(ann.id)]
        assert ids == sorted(set(ids))


async def test_state_file_is_written_while_the_sandbox_runs(file: Path) -> None:
    async with running_sandbox(state_file=file) as server:
        await server.client.add_person("Ann")

        async def written() -> bool:
            return "Ann" in read(file)

        await until(written)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no state of a sandbox"),
        ("[]", "is no state of a sandbox"),
        ('{"format": 1}', "is no state of a sandbox"),
    ],
)
async def test_broken_state_file_is_refused_and_kept(content: str, words: str, file: Path) -> None:
    write(file, content)
    with pytest.raises(StateError, match=words):
        async with running_sandbox(state_file=file):
            pass
    assert read(file) == content


async def test_the_state_of_another_bot_is_refused(file: Path) -> None:
    async with running_sandbox(Settings(token=TOKEN), state_file=file):
        pass
    with pytest.raises(StateError, match="belongs to the bot 7"):
        async with running_sandbox(Settings(token="8:Eight"), state_file=file):
            pass
