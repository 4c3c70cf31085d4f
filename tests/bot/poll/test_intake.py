"""The intake fetches, records, confirms and dispatches: before a sandbox, with the real recorder and lanes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any, Final

import pytest
import pytest_asyncio
from aiogram import Bot
from aiogram.types import Update
from sqlalchemy import select

from bot.poll.intake import ALLOWED_UPDATES, Intake
from bot.poll.lanes import MONEY_MAX, Lanes
from db.engine import Database
from db.tables import SubscriptionChange
from db.timings import Timings
from payments.audit.facts import ChargeFact, Fact
from payments.notices import Notice
from payments.recording.recorder import Recorder
from sandbox.client import SandboxClient
from sandbox.server import running_sandbox
from tests.bot.poll.on_record import quarantined_ids, recorded_ids
from tests.support.bots import talking_bot
from tests.support.clock import FakeClock
from tests.support.desk import Desk
from tests.support.logs import logged
from tests.support.money import (
    ADMIN_CHAT_ID,
    ADMINS,
    BUYER,
    STRANGER,
    charge,
    charge_update,
    refund,
    refund_update,
    subscription_update,
)
from tests.support.obstacles import locked
from tests.support.timings import PATIENT
from tests.support.waiting import WAIT_SECONDS, skip_sleeps, until

pytestmark = pytest.mark.engines("sqlite", "postgresql")

RawUpdate = dict[str, Any]

HASTY: Final = Timings(record_seconds=0.1, same_offset_pause_seconds=0.6)
"""Beyond the half second in which Telegram answers a second poll at one offset with one update at a time."""
CHARGE: Final = charge_update(charge())


def _message(text: str = "/help", user_id: int = BUYER.telegram_id) -> RawUpdate:
    sender = {"id": user_id, "is_bot": False, "first_name": "Ann"}
    chat = {"id": user_id, "type": "private", "first_name": "Ann"}
    return {"message": {"message_id": 1, "date": 1772366400, "from": sender, "chat": chat, "text": text}}


def _query(query_id: str = "q1") -> RawUpdate:
    sender = {"id": BUYER.telegram_id, "is_bot": False, "first_name": "Ann"}
    asked = {"id": query_id, "from": sender, "currency": "XTR", "total_amount": 200, "invoice_payload": "x"}
    return {"pre_checkout_query": asked}


class Line:
    """The way of an update from Telegram to its handler; `served` is what got there, in order."""

    def __init__(self, client: SandboxClient, bot: Bot, database: Database, timings: Timings) -> None:
        self.client = client
        self.served: list[str] = []
        self.facts: list[Fact] = []
        self.lanes = Lanes(self._serve, on_full=lambda: None)
        self._recorder = Recorder(database, FakeClock(), ADMINS, timings.record_seconds)
        self.intake = Intake(bot, self._recorder, self.lanes, timings)
        self._database = database

    async def _serve(self, update: Update, fact: Fact | None) -> None:
        if fact is not None:
            self.facts.append(fact)
            self.served.append(fact.event_id)
        elif update.pre_checkout_query is not None:
            self.served.append(update.pre_checkout_query.id)
        elif update.callback_query is not None:
            self.served.append(update.callback_query.data or "")
        elif update.message is not None:
            self.served.append(update.message.text or "")

    async def push(self, *updates: RawUpdate) -> list[int]:
        """Let Telegram have updates, and return their ids."""
        return [(await self.client.push_raw(update)).id for update in updates]

    async def poll_past(self, update_id: int) -> None:
        """Poll until this update is taken, and confirm it."""

        async def is_taken() -> bool:
            await self.intake.poll_once()
            return (self.intake._offset or 0) > update_id

        await until(is_taken)
        await self.intake.confirm()

    async def waiting(self) -> list[int]:
        """Return the ids of what Telegram holds to be unconfirmed."""
        return [update.id for update in await self.client.updates_waiting()]

    async def recorded(self) -> set[str]:
        return await recorded_ids(self._database)

    async def quarantined(self) -> list[int]:
        return await quarantined_ids(self._database)

    async def rest(self) -> None:
        """Let the lanes do all that they have."""
        await self.lanes.close(WAIT_SECONDS)
        self.lanes.start()

    async def close(self) -> None:
        """End, and the write with it that is in flight."""
        await self.lanes.close(WAIT_SECONDS)
        if self._recorder._writing is not None:
            await asyncio.wait({self._recorder._writing})


@asynccontextmanager
async def _lines(database: Database, timings: Timings = PATIENT) -> AsyncIterator[Callable[[], Line]]:
    """Give what makes a line to one sandbox: the next process, when it is called again."""
    made: list[Line] = []
    async with running_sandbox() as server, talking_bot(server.url, server.token) as api:

        def make() -> Line:
            made.append(Line(server.client, api, database, timings))
            made[-1].lanes.start()
            return made[-1]

        yield make
        for each in made:
            await each.close()


@pytest_asyncio.fixture
async def line(database: Database) -> AsyncIterator[Line]:
    async with _lines(database) as make:
        yield make()


@pytest_asyncio.fixture
async def hasty_line(database: Database) -> AsyncIterator[Line]:
    """Give a line that soon takes its database to be away."""
    async with _lines(database, HASTY) as make:
        yield make()


@pytest.mark.criterion("N3")
async def test_a_subscriptions_state_is_on_record_before_it_is_confirmed(line: Line, database: Database) -> None:
    told = subscription_update("canceled", "p")["subscription"]
    odd = {**told, "user": {**told["user"], "first_name": None, "new_field": []}, "new_field": {}}
    [first] = await line.push({"subscription": odd})
    await line.poll_past(first)
    [call, *_] = await line.client.calls("getUpdates")
    assert "subscription" in call.args["allowed_updates"]
    async with database.reading() as session:
        assert list(await session.scalars(select(SubscriptionChange.update_id))) == [first]
    await line.rest()
    assert line.served == [f"subscription:{first}"]
    assert await line.waiting() == []


@pytest.mark.criterion("C1", "C9")
async def test_a_payment_is_on_record_before_it_is_confirmed(line: Line) -> None:
    ids = await line.push(_message(), CHARGE, _message("/buy"))
    await line.intake.poll_once()
    assert await line.recorded() == {"charge-1"}
    assert await line.waiting() == ids
    await line.intake.confirm()
    assert await line.waiting() == []
    polls = await line.client.calls("getUpdates")
    assert [poll.args.get("offset") for poll in polls] == [None, str(ids[-1] + 1)]
    assert all(name in polls[0].args["allowed_updates"] for name in ALLOWED_UPDATES)


async def test_confirm_without_news_makes_no_call(line: Line) -> None:
    await line.intake.confirm()
    assert await line.client.calls("getUpdates") == []


@pytest.mark.criterion("C1", "E2")
async def test_while_the_database_is_away_money_waits_at_telegram_and_all_else_is_served_once(
    hasty_line: Line, database: Database, database_url: str
) -> None:
    line = hasty_line
    ids = await line.push(_message("before"), CHARGE, _query(), _message("behind"), refund_update(refund(charge())))
    with logged() as records:
        async with locked(database, database_url, "stripe_events"):
            for _ in range(2):
                await line.intake.poll_once()
            ids += await line.push(_query("q2"))
            await line.intake.poll_once()
            await line.rest()
            assert line.served == ["q1", "before", "behind", "q2"]
            assert await line.waiting() == ids[1:]
        await line.poll_past(ids[-1])
    await line.rest()
    assert await line.waiting() == []
    assert await line.recorded() == {"charge-1", "refund:charge-1"}
    assert sorted(line.served[4:]) == ["charge-1", "refund:charge-1"]
    told = [record["message"] for record in records if "the database is" in record["message"]]
    assert ["away" in words for words in told] == [True, False]


async def test_the_pause_at_one_offset_counts_from_the_poll(
    hasty_line: Line, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hasty_line.push(CHARGE)
    async with locked(database, database_url, "stripe_events"):
        slept = skip_sleeps(monkeypatch)
        await hasty_line.intake.poll_once()
    # A buyer behind it waits no longer than that: the time in which the database was waited for is within.
    assert max(slept) <= HASTY.same_offset_pause_seconds - HASTY.record_seconds


POISON: Final[dict[str, RawUpdate]] = {
    "malformed": {"message": {"message_id": "no number", "date": [], "chat": None}},
    "a message that is none": {"message": 5},
    "a query that is none": {"pre_checkout_query": {"id": {}}},
    "an unknown kind": {"telepathy": {"from": {"id": 1}}},
    "nothing at all": {},
    "of an unknown origin": {"message": _message()["message"] | {"forward_origin": {"type": "dream", "date": 1}}},
    "before all time": {"message": _message()["message"] | {"date": -(10**30)}},
    "beyond all time": {"message": _message()["message"] | {"date": 10**30}},
    "without a sender": {"message": {**_message()["message"], "from": None}},
}


@pytest.mark.criterion("E3")
@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
async def test_an_update_that_cannot_be_read_holds_nothing_up(line: Line, poison: RawUpdate) -> None:
    ids = await line.push(poison, CHARGE, _message("behind"), _query())
    await line.poll_past(ids[-1])
    await line.rest()
    assert sorted(line.served) == ["behind", "charge-1", "q1"]
    assert await line.waiting() == []


@pytest.mark.criterion("E3")
async def test_unreadable_update_is_logged_by_its_field_without_its_text(line: Line) -> None:
    secret = _message("my secret")
    secret["message"]["forward_origin"] = {"type": "dream"}
    (update_id,) = await line.push(secret)
    with logged() as records:
        await line.intake.poll_once()
    (said,) = [record for record in records if record["name"] == "bot.poll.intake"]
    assert "message.forward_origin" in said["message"]
    assert said["extra"] == {"update_id": update_id}
    assert "secret" not in said["message"]


@pytest.mark.criterion("C1", "E3")
async def test_payment_with_odd_fields_around_it_is_recorded(line: Line) -> None:
    odd = deepcopy(CHARGE)
    odd["message"] |= {
        "forward_origin": {"type": "dream"},
        "reply_to_message": 7,
        "entities": "many",
        "text": "\0",
        "telepathy": {"of": ["the", "future"]},
    }
    odd["message"]["successful_payment"]["order_info"] = "somewhere"
    odd["message"]["from"]["language_code"] = ["en"]
    odd["message"]["chat"]["username"] = 7
    await line.push(odd)
    await line.intake.poll_once()
    assert await line.recorded() == {"charge-1"}
    await line.rest()
    assert line.served == ["charge-1"]


@pytest.mark.criterion("C1")
@pytest.mark.parametrize("field", ["chat", "message_id"])
async def test_money_that_no_handler_can_take_is_on_record_for_the_worker(line: Line, field: str) -> None:
    odd = deepcopy(CHARGE)
    odd["message"][field] = "7"
    ids = await line.push(odd, _message("behind"))
    await line.poll_past(ids[-1])
    await line.rest()
    assert await line.recorded() == {"charge-1"}
    assert "behind" in line.served


UNREADABLE: Final = {
    "nul": replace(charge("bad"), payload="nul\0"),
    "lone surrogate": replace(charge("bad"), payload="\ud800"),
    "too much": replace(charge("bad"), amount=2**31),
    "too long": charge("x" * 1025),
}


@pytest.mark.criterion("E3", "E4")
@pytest.mark.parametrize("bad", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_money_that_cannot_be_recorded_is_kept_and_the_rest_of_its_batch_goes_on(
    line: Line, database: Database, bad: ChargeFact
) -> None:
    ids = await line.push(_message("before"), charge_update(bad), CHARGE, _message("behind"))
    await line.poll_past(ids[-1])
    await line.rest()
    assert await line.quarantined() == [ids[1]]
    assert await line.recorded() == {"charge-1"}
    assert sorted(line.served) == ["before", "behind", "charge-1"]
    assert await line.waiting() == []
    [(notice, chat_id, _)] = await Desk(database, FakeClock()).notices()
    assert (notice, chat_id) == (Notice.QUARANTINED, ADMIN_CHAT_ID)


@pytest.mark.criterion("C3")
async def test_updates_that_come_again_are_one_payment(database: Database) -> None:
    async with _lines(database) as make:
        first, second = make(), make()
        ids = await first.push(CHARGE, _message(), CHARGE)
        await first.intake.poll_once()
        # A process that died before its next poll has confirmed nothing.
        await second.poll_past(ids[-1])
        await first.rest()
        await second.rest()
        assert await second.waiting() == []
        assert await second.recorded() == {"charge-1"}
        assert [fact.event_id for fact in first.facts + second.facts] == 4 * ["charge-1"]


@pytest.mark.criterion("C1")
async def test_a_full_batch_is_taken_whole(line: Line) -> None:
    charged = [charge(f"charge-{n}", payer=(BUYER, STRANGER)[n % 2]) for n in range(MONEY_MAX)]
    for n in range(95 - 2 * MONEY_MAX):
        await line.push(_message(str(n), user_id=n + 1))
        if n < MONEY_MAX:
            await line.push(charge_update(charged[n]), _query(f"q{n}"))
    ids = await line.push(*(_message("rest", user_id=100 + n) for n in range(5)))
    assert len(await line.waiting()) == 100
    await line.poll_past(ids[-1])
    await line.rest()
    assert await line.waiting() == []
    assert await line.recorded() == {each.charge_id for each in charged}
    assert len(line.served) == len(set(line.served)) + 4 == 100


@pytest.mark.criterion("C1")
async def test_ids_that_start_again_lower_are_followed(line: Line) -> None:
    await line.poll_past((await line.push(_message("high")))[-1])
    await line.intake.take([{"update_id": 7, **_message("low")}, {**CHARGE, "update_id": 8}])
    await line.rest()
    assert sorted(line.served) == ["charge-1", "high", "low"]
    await line.intake.confirm()
    assert (await line.client.calls("getUpdates"))[-1].args["offset"] == "9"
