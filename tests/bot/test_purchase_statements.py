"""The statements and transactions of one whole purchase, each with the reason why the desk cannot do without it."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final

import pytest
from aiogram.types import Update

from bot.poll.intake import GetRawUpdates
from db.engine import Database
from payments.audit.facts import Fact
from sandbox.people import Person
from tests.support.chats import Chats, running_chats
from tests.support.statements import statements, transactions

pytestmark = pytest.mark.engines("sqlite", "postgresql")

LOCK: Final = " FOR NO KEY UPDATE"
"""The end of a SELECT that locks; SQLite has one writer, and no locks of rows."""
BEFORE_TABLE: Final = {"SELECT": "FROM", "INSERT": "INTO", "UPDATE": "UPDATE"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A statement of a purchase, as its verb and first table; `only_new`: only a new buyer's purchase has it."""

    shape: str
    reason: str
    only_new: bool = False


PURCHASE: Final[dict[str, tuple[int, tuple[Asked, ...]]]] = {
    "/buy": (1, (Asked("SELECT users", "the @username on record may be an old one: asked once an hour", True),)),
    "the plan's button": (1, (Asked("SELECT entitlement_grants", "nobody is offered what they hold for life"),)),
    "pre-checkout": (
        1,
        (
            Asked("SELECT entitlement_grants", "nobody pays for what they have come to hold for life since"),
            Asked("INSERT checkouts", "it proves that the desk can write, and tells what nobody paid"),
        ),
    ),
    "the intake's recording": (
        1,
        (
            Asked("SELECT users" + LOCK, "users are locked before their events"),
            Asked("INSERT users", "an event needs its user's row", True),
            Asked("INSERT stripe_events", "Telegram hears of no payment that is not on record"),
        ),
    ),
    "settlement": (
        1,
        (
            Asked("SELECT users" + LOCK, "of two payments at once, the later fold must see the earlier grant"),
            Asked("SELECT stripe_events" + LOCK, "the loop, or another process, may be settling the same row"),
            Asked("SELECT stripe_events", "a refund may be on record before its charge"),
            Asked("SELECT entitlement_grants", "a payment for what the buyer holds for life goes back"),
            Asked("INSERT entitlement_grants", "the access that was paid for; a repetition adds none"),
            Asked("SELECT entitlement_grants", "the standing is the fold of all of the user's grants"),
            Asked("INSERT entitlements", "other programs read the standing"),
            Asked("UPDATE stripe_events", "the row is settled with its grant, or not at all"),
            Asked("INSERT outbox", "the buyer is told, whatever happens after the commit"),
        ),
    ),
    "the notice": (
        2,
        (
            Asked("SELECT outbox", "the messages that are due, and where a group that moved gets them"),
            Asked("UPDATE outbox", "a message that was sent is not sent again"),
        ),
    ),
}
"""The steps of a purchase, with the transactions and the statements of each."""


class Purchase:
    """One purchase, step by step: what each step asks of the database."""

    def __init__(self, chats: Chats, buyer: Person) -> None:
        self._chats = chats
        self._buyer = buyer
        self.steps: dict[str, tuple[int, list[str]]] = {}

    async def make(self) -> None:
        chats, buyer = self._chats, self._buyer
        wish = await chats.client.send_text(buyer.id, "/buy")
        await self._step("/buy", self._serve(await self._next_update()))
        [plans] = await chats.said(buyer.id, after=wish.message_id)
        await chats.client.press(buyer.id, plans.message_id, text=plans.buttons()[0]["text"])
        await self._step("the plan's button", self._serve(await self._next_update()))
        [invoice] = await chats.said(buyer.id, after=plans.message_id)
        await chats.client.start_payment(buyer.id, message_id=invoice.message_id)
        await self._step("pre-checkout", self._serve(await self._next_update()))
        paid = await self._next_update()
        recorded = await self._step("the intake's recording", chats.desk.recorder.record([paid]))
        await self._step("settlement", self._serve(paid, recorded[paid["update_id"]]))
        await self._step("the notice", chats.desk.outbox.deliver_once())
        assert "Thank you" in (await chats.said(buyer.id))[-1].text()

    async def _step(self, name: str, work: Awaitable[Any]) -> Any:
        with statements(self._chats.database) as said, transactions(self._chats.database) as begun:
            result = await work
        self.steps[name] = len(begun), [_shape(each) for each in said]
        return result

    async def _next_update(self) -> dict[str, Any]:
        [raw] = await self._chats.bot(GetRawUpdates(timeout=0))
        await self._chats.bot(GetRawUpdates(offset=raw["update_id"] + 1, timeout=0))
        return raw

    async def _serve(self, raw: dict[str, Any], fact: Fact | None = None) -> None:
        update = Update.model_validate(raw, context={"bot": self._chats.bot})
        await self._chats.desk.dispatcher.feed_update(self._chats.bot, update, fact=fact)


def _shape(statement: str) -> str:
    """Return a statement's verb and first table, and whether it locks."""
    words = statement.split()
    verb = words[0]
    table = words[words.index(BEFORE_TABLE[verb]) + 1]
    return f"{verb} {table}{LOCK if statement.endswith(LOCK) else ''}"


def _expected(engine_name: str, *, is_new: bool) -> dict[str, tuple[int, list[str]]]:
    lock = LOCK if engine_name == "postgresql" else ""
    expected = {}
    for step, (begun, asked) in PURCHASE.items():
        shapes = [each.shape.replace(LOCK, lock) for each in asked if is_new or not each.only_new]
        expected[step] = begun if shapes else 0, shapes
    return expected


@pytest.mark.parametrize("is_new", [True, False], ids=["new buyer", "known buyer"])
async def test_a_purchase_asks_the_database_only_what_the_table_has(
    database: Database, engine_name: str, *, is_new: bool
) -> None:
    async with running_chats(database) as chats:
        # The worker asks once after its start whether the desk owes a pass over the ledger.
        await Purchase(chats, chats.people.other if is_new else chats.people.buyer).make()
        purchase = Purchase(chats, chats.people.buyer)
        await purchase.make()
    assert purchase.steps == _expected(engine_name, is_new=is_new)
