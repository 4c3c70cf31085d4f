"""The poll behind gateways: cut while idle, answered at once with nothing, or with JSON that is no update."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import parse_qs

import pytest
import pytest_asyncio
from aiogram.exceptions import TelegramNetworkError, TelegramUnauthorizedError
from aiogram.methods import GetUpdates
from aiogram.types import Update
from sqlalchemy import select

from bot.calls.bounded_session import BoundedSession
from bot.monitoring.call_meter import CallMeter
from bot.poll.conflicts import ConflictAlert
from bot.poll.intake import Intake
from bot.poll.lanes import Lanes
from bot.poll.polling import Outage, poll_forever
from db.engine import Database
from db.tables import QuarantinedUpdate, StripeEvent
from db.timings import PRODUCTION, Timings
from payments.audit.facts import Fact
from payments.notices import Admins, Notice
from payments.recording.recorder import Recorder
from sandbox.server import running_sandbox
from tests.cases.telegram.front import Answer, Front, fronting
from tests.support.bots import talking_bot
from tests.support.clock import FakeClock
from tests.support.desk import Desk
from tests.support.logs import logged
from tests.support.money import ADMIN_CHAT_ID, ADMINS, BUYER, charge, charge_update, subscription_update
from tests.support.waiting import WAIT_SECONDS, skip_sleeps, until

Updates = list[Any]

AWAY: Final = TelegramNetworkError(GetUpdates(), "nobody there")
ABSURD: Final = [None, -1, "5", 5.5, True, 2**31, 2**63 + 1, 10**40, {"a": [1]}, [7]]


def _message(update_id: object, text: str) -> dict[str, Any]:
    sender = {"id": BUYER.telegram_id, "is_bot": False, "first_name": "Ann"}
    chat = {"id": BUYER.telegram_id, "type": "private", "first_name": "Ann"}
    message = {"message_id": 1, "date": 1772366400, "from": sender, "chat": chat, "text": text}
    return {"update_id": update_id, "message": message}


class Poll:
    """A poll that runs behind a front; `served` is what came through it."""

    def __init__(self, front: Front, api: Any, database: Database, clock: FakeClock) -> None:
        self.front = front
        self.database = database
        self.served: list[str | None] = []
        self.offsets: list[int | None] = []
        self.lanes = Lanes(self._serve, on_full=lambda: None)
        self.intake = Intake(api, Recorder(database, clock, ADMINS, WAIT_SECONDS), self.lanes)
        self.conflicts = ConflictAlert(database, clock, Admins(), on_owed=lambda: None)

    async def _serve(self, update: Update, fact: Fact | None) -> None:
        self.served.append(fact.event_id if fact else update.message.text if update.message else None)

    def answers(self, make: Callable[[int | None, int], Answer | None]) -> None:
        """Let a function answer each poll, by its offset and its limit."""

        def rule(_: str, body: bytes) -> Answer | None:
            args = parse_qs(body.decode())
            offset = int(args["offset"][0]) if "offset" in args else None
            self.offsets.append(offset)
            return make(offset, int(args["limit"][0]))

        self.front.rules["getupdates"] = rule

    def bound_updates(self, bytes_max: int) -> None:
        """Take an answer to a poll for too large from so many bytes on."""
        session = self.intake._bot.session
        assert isinstance(session, BoundedSession)
        session.updates_bytes_max = bytes_max

    async def polled(self, times: int) -> None:
        """Wait until so many polls were made."""

        async def are_there() -> bool:
            return len(self.front.polls()) >= times

        await until(are_there)


def _ok(*updates: object) -> Answer:
    return 200, {"ok": True, "result": list(updates)}


@asynccontextmanager
async def _polling(database: Database, clock: FakeClock) -> AsyncIterator[Poll]:
    async with (
        running_sandbox() as server,
        fronting(server.url) as front,
        talking_bot(front.url, server.token) as api,
    ):
        api.session.middleware(CallMeter())
        poll = Poll(front, api, database, clock)
        poll.lanes.start()
        yield poll


@pytest_asyncio.fixture
async def poll(sqlite_database: Database, clock: FakeClock) -> AsyncIterator[Poll]:
    async with _polling(sqlite_database, clock) as poll:
        yield poll


@asynccontextmanager
async def _running(poll: Poll, timings: Timings = PRODUCTION) -> AsyncIterator[None]:
    task = asyncio.create_task(poll_forever(poll.intake, poll.conflicts, timings))
    yield
    task.cancel()
    await asyncio.wait({task})
    await poll.lanes.close(WAIT_SECONDS)


# How long it waits after an outage.


async def _longest(outage: Outage, error: TelegramNetworkError, slept: list[float]) -> float:
    slept.clear()
    for _ in range(20):
        await outage.wait(error)
    return max(slept)


async def test_the_pause_after_an_outage_is_short_while_telegram_has_answered_lately(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept = skip_sleeps(monkeypatch)
    outage = Outage()
    assert 2 < await _longest(outage, AWAY, slept) <= 5
    outage.over()
    assert await _longest(outage, AWAY, slept) <= 2
    forgetful = Outage(Timings(lately_seconds=0))
    forgetful.over()
    assert 2 < await _longest(forgetful, AWAY, slept) <= 5


async def test_the_first_outage_of_a_run_is_tried_again_soon_as_well(
    poll: Poll, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll.answers(lambda *_: (502, "Bad Gateway"))
    slept = skip_sleeps(monkeypatch)
    async with _running(poll):
        await poll.polled(10)
    assert max(slept) <= 2


async def test_a_refusal_is_an_answer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = skip_sleeps(monkeypatch)
    outage = Outage()
    await outage.wait(TelegramUnauthorizedError(GetUpdates(), "Unauthorized"))
    assert await _longest(outage, AWAY, slept) <= 2


# Gateways that cut the poll short.


async def test_slow_a_gateway_that_cuts_idle_polls_is_no_outage(poll: Poll) -> None:
    poll.front.cut_after = 4
    with logged() as records:
        async with _running(poll):
            await poll.polled(3)
    assert max(poll.front.gaps()) < 5
    said = [record["message"] for record in records]
    assert [words for words in said if "cannot be" in words] == []
    assert any("the next ones take 3 s" in words for words in said)


# Polls that are answered at once.


@pytest.mark.parametrize(
    "answer",
    [_ok(), _ok(_message(5, "again")), _ok(5, None), (302, "moved"), (200, {"ok": True, "result": None})],
    ids=["nothing", "the same update", "no updates", "a redirect", "no list"],
)
async def test_an_answer_without_progress_is_not_asked_for_at_once_again(poll: Poll, answer: Answer) -> None:
    poll.answers(lambda *_: answer)
    async with _running(poll):
        await poll.polled(5)
    # The first one may have been progress.
    assert min(poll.front.gaps()[1:]) >= PRODUCTION.empty_poll_pause_seconds
    assert poll.served == (["again"] if "again" in str(answer) else [])


async def test_seen_update_is_not_served_again_and_the_offset_stays(poll: Poll) -> None:
    batches = [[_message(3, "a"), _message(9, "b")], [_message(3, "a")], [_message(3, "a"), _message(10, "c")]]
    poll.answers(lambda *_: _ok(*(batches.pop(0) if batches else [])))
    async with _running(poll):
        await poll.polled(5)
    assert poll.served == ["a", "b", "c"]
    assert poll.offsets == [None, 10, 10, 11, 11]


@pytest.mark.parametrize("result", [None, 5, {}, "x", True])
async def test_an_answer_that_is_no_list_is_waited_out(poll: Poll, result: object) -> None:
    answers: list[Answer] = [(200, {"ok": True, "result": result}), _ok(_message(5, "behind"))]
    poll.answers(lambda *_: answers.pop(0) if answers else _ok())
    with logged("ERROR") as records:
        async with _running(poll):
            await poll.polled(3)
    assert poll.served == ["behind"]
    assert [record["exception"] for record in records] == [None]


# JSON that is no update.


@pytest.mark.parametrize("update_id", ABSURD, ids=map(str, ABSURD))
async def test_an_update_without_an_id_to_go_by_holds_nothing_up(poll: Poll, update_id: object) -> None:
    odd, without = _message(update_id, "odd"), _message(1, "without")
    del without["update_id"]
    poll.answers(lambda offset, _: _ok(odd, without, 7, None) if offset is None else _ok())
    batch: list[Any] = [odd, without, 7, None, []]
    with logged("WARNING") as records:
        for _ in range(3):
            await poll.intake.take(batch)
        await poll.intake.take([*batch, _message(5, "behind")])
    await poll.lanes.close(WAIT_SECONDS)
    assert poll.served == ["behind"]
    assert poll.intake._offset == 6
    assert len(records) == len(batch)


@pytest.mark.parametrize("update_id", ABSURD, ids=map(str, ABSURD))
async def test_money_without_an_id_to_go_by_is_kept_and_not_confirmed_before(poll: Poll, update_id: object) -> None:
    odd = {**charge_update(charge("odd")), "update_id": update_id}
    told = {**subscription_update("canceled", "p"), "update_id": update_id}
    for _ in range(2):
        await poll.intake.take([_message(4, "before"), odd, told, _message(6, "behind")])
    await poll.lanes.close(WAIT_SECONDS)
    assert sorted(map(str, poll.served)) == ["before", "behind", "odd"]
    async with poll.database.reading() as session:
        assert list(await session.scalars(select(StripeEvent.event_id))) == ["odd"]
        assert list(await session.scalars(select(StripeEvent.update_id))) == [None]
        [kept] = await session.scalars(select(QuarantinedUpdate))
    assert "update_id: is none" in kept.reason
    assert poll.intake._offset == 7


# Answers that cannot be read.


def _too_large(head: str) -> str:
    return head + "x" * 10_000 + '"}}]}'


HEAD: Final = (
    '{"ok":true,"result":[{"update_id":7,"message":{"from":{"id":42},"successful_payment":'
    '{"telegram_payment_charge_id":"c1","x":"'
)


@pytest.mark.parametrize("body", [_too_large(HEAD), HEAD + "\\u12"], ids=["too large", "no JSON"])
async def test_an_update_that_cannot_be_read_is_passed_over_and_what_is_known_of_it_kept(poll: Poll, body: str) -> None:
    poll.bound_updates(5_000)
    limits: list[int] = []

    def answer(offset: int | None, limit: int) -> Answer:
        limits.append(limit)
        if offset is None:
            # One alone can be read: those before it are taken.
            return (200, body) if limit > 1 else _ok(_message(6, "before"))
        if offset == 7:
            return 200, body
        return _ok(_message(8, "behind")) if offset == 8 else _ok()

    poll.answers(answer)
    async with _running(poll, Timings(outage_log_seconds=0)):
        await until(lambda: _is_served(poll, "behind"))
    assert poll.served == ["before", "behind"]
    assert limits[:2] == [100, 1]
    async with poll.database.reading() as session:
        [kept] = await session.scalars(select(QuarantinedUpdate))
    raw = json.loads(kept.raw)
    assert (kept.update_id, raw["from"], raw["telegram_payment_charge_id"]) == (7, {"id": 42}, "c1")
    [(notice, chat_id, _)] = await Desk(poll.database, FakeClock()).notices()
    assert (notice, chat_id) == (Notice.QUARANTINED, ADMIN_CHAT_ID)


async def _is_served(poll: Poll, text: str) -> bool:
    return text in poll.served


@pytest.mark.parametrize("body", ["<html>", '{"ok":true,"result":[{"update_id":3,' + "x" * 10_000], ids=["page", "old"])
async def test_unreadable_answer_does_not_move_the_offset(
    poll: Poll, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    poll.bound_updates(5_000)
    answers: list[Answer] = [_ok(_message(9, "a")), *5 * [(200, body)]]
    poll.answers(lambda *_: answers.pop(0) if answers else _ok())
    slept = skip_sleeps(monkeypatch)
    async with _running(poll):
        await poll.polled(8)
    assert slept
    assert set(poll.offsets[1:]) == {10}
