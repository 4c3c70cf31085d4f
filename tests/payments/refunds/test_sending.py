"""A refund sent to Telegram: once, though calls fail, processes die or two run beside each other."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from typing import Final

import pytest
from aiogram import Bot
from sqlalchemy import text

from db.engine import Database
from db.states import EventOutcome, EventStatus
from payments.audit.facts import Person
from payments.channel import LEASE_SECONDS, by_name
from payments.loop import AWAY_ATTEMPTS_MAX, BACKOFF_SECONDS_MAX
from payments.notices import Notice
from payments.pause import Pause
from payments.refunds.sending import RefundSender
from payments.settlement.worker import Worker
from payments.stars import StarsChannel
from sandbox.client import SandboxClient
from sandbox.faults import FaultKind
from sandbox.history import PastPayment
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import ADMIN_CHAT_ID, BUYER, STRANGER, charge, refund

pytestmark = pytest.mark.engines("sqlite", "postgresql")

ADMIN_ID: Final = 42

METHOD: Final = "refundStarPayment"


async def _sell(desk: Desk, telegram: SandboxClient, buyer: Person = BUYER) -> str:
    """Let Telegram have a charge of a buyer's, and the desk too; return the charge id."""
    await telegram.add_person("Buyer", id=buyer.telegram_id)
    sold = charge(payer=buyer)
    (charge_id,) = await telegram.add_past_payments(
        [PastPayment(buyer.telegram_id, sold.payload, sold.amount, sold.happened_at)]
    )
    await desk.take(charge(charge_id, payer=buyer))
    return charge_id


async def _refunds_at_telegram(telegram: SandboxClient) -> int:
    return sum("receiver" in row for row in await telegram.ledger())


@pytest.mark.criterion("R1", "R4", "R6", "I4")
async def test_telegram_gives_back_and_the_access_is_gone(desk: Desk, worker: Worker, telegram: SandboxClient) -> None:
    charge_id = await _sell(desk, telegram)
    await desk.request_refund(charge_id, reply_chat_id=ADMIN_ID)
    await desk.deliver()
    assert await desk.due_notices() == []
    event = await worker.process(f"refund:{charge_id}")
    assert event is not None
    assert (event.status, event.outcome, event.processed_at) == (EventStatus.PROCESSED, EventOutcome.REFUNDED, START)
    assert not await desk.holds()
    assert (await telegram.person(BUYER.telegram_id)).balance_stars == 200
    assert [(notice, chat_id) for notice, chat_id, _ in await desk.due_notices()] == [
        (Notice.REFUND_DONE, ADMIN_ID),
        (Notice.REFUNDED, BUYER.telegram_id),
    ]


async def test_no_transaction_is_open_while_telegram_is_asked(
    desk: Desk, worker: Worker, telegram: SandboxClient
) -> None:
    charge_id = await _sell(desk, telegram)
    await desk.request_refund(charge_id)
    await telegram.add_fault(FaultKind.HOLD, METHOD)
    sending = asyncio.create_task(worker.process(f"refund:{charge_id}"))
    await telegram.wait_until_held()
    # Another transaction has this buyer's lock, or SQLite's only one.
    await desk.take(charge("another"))
    if not desk.database.is_sqlite:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state ~ 'transaction'"
        async with desk.database.reading() as session:
            assert (await session.execute(text(query))).scalar_one() == 0
    await telegram.release_holds()
    assert await sending is not None


@pytest.fixture
async def second(desk: Desk, database_url: str, bot: Bot) -> AsyncIterator[Worker]:
    """Give the worker of another process: connections of its own."""
    database = Database(database_url)
    yield Worker(
        database,
        desk.settlement,
        RefundSender(database, by_name(StarsChannel(bot)), desk.clock),
        desk.clock,
        on_progress=lambda: None,
        pause=Pause(desk.clock),
    )
    await database.dispose()


@pytest.mark.criterion("S9")
async def test_two_processes_make_one_call(desk: Desk, worker: Worker, telegram: SandboxClient, second: Worker) -> None:
    charge_id = await _sell(desk, telegram)
    await desk.request_refund(charge_id)
    await telegram.add_fault(FaultKind.HOLD, METHOD)
    first = asyncio.create_task(worker.work_once())
    await telegram.wait_until_held()
    assert await second.process(f"refund:{charge_id}") is None
    assert await second.work_once() == 0
    await telegram.release_holds()
    assert await first == 1
    assert len(await telegram.calls(METHOD)) == 1
    assert (await desk.event(f"refund:{charge_id}")).outcome == EventOutcome.REFUNDED


async def test_a_call_that_died_is_made_again_after_its_lease(
    desk: Desk, worker: Worker, telegram: SandboxClient
) -> None:
    charge_id = await _sell(desk, telegram)
    await desk.request_refund(charge_id)
    await telegram.add_fault(FaultKind.HOLD, METHOD)
    dying = asyncio.create_task(worker.process(f"refund:{charge_id}"))
    await telegram.wait_until_held()
    dying.cancel()
    await asyncio.wait({dying})
    await telegram.clear_faults()
    desk.clock.advance(seconds=LEASE_SECONDS - 1)
    assert await worker.work_once() == 0
    desk.clock.advance(seconds=1)
    assert await worker.work_once() == 1
    assert (await desk.event(f"refund:{charge_id}")).outcome == EventOutcome.REFUNDED
    assert await _refunds_at_telegram(telegram) == 1


@pytest.mark.criterion("E1")
async def test_an_answer_that_was_lost_is_success_at_the_next_attempt(
    desk: Desk, worker: Worker, telegram: SandboxClient
) -> None:
    charge_id = await _sell(desk, telegram)
    await desk.request_refund(charge_id)
    await telegram.add_fault(FaultKind.ANSWER_LOST, METHOD)
    event = await worker.process(f"refund:{charge_id}")
    assert event is not None
    assert (event.status, event.outcome, event.attempts) == (EventStatus.FAILED, None, 1)
    assert await worker.work_once() == 0
    desk.clock.advance(seconds=10)
    assert await worker.work_once() == 1
    event = await desk.event(f"refund:{charge_id}")
    assert (event.status, event.outcome) == (EventStatus.PROCESSED, EventOutcome.REFUNDED)
    (_, again) = await telegram.calls(METHOD)
    assert again.answer["description"] == "Bad Request: CHARGE_ALREADY_REFUNDED"
    assert await _refunds_at_telegram(telegram) == 1
    assert not await desk.holds()


@pytest.mark.criterion("E5")
async def test_refund_refused_by_telegram_is_parked_at_once(
    desk: Desk, worker: Worker, telegram: SandboxClient
) -> None:
    await telegram.add_person("Buyer", id=BUYER.telegram_id)
    await desk.take(charge("not at Telegram"))
    await desk.deliver()
    await desk.request_refund("not at Telegram")
    event = await worker.process("refund:not at Telegram")
    assert event is not None
    assert (event.status, event.outcome, event.due_at) == (EventStatus.FAILED, EventOutcome.PARKED, None)
    assert "CHARGE_NOT_FOUND" in (event.error or "")
    assert await desk.told("refund:not at Telegram") == [(Notice.PARKED, ADMIN_CHAT_ID)]
    assert await desk.holds()


@pytest.mark.criterion("E1", "E5")
@pytest.mark.parametrize(
    "fault",
    [{"kind": FaultKind.CUT_BEFORE}, {"kind": FaultKind.SERVER_ERROR}],
    ids=["cut", "5xx"],
)
async def test_while_telegram_is_away_a_refund_is_tried_with_growing_pauses_then_parked(
    desk: Desk, worker: Worker, telegram: SandboxClient, fault: dict[str, FaultKind]
) -> None:
    charge_id = await _sell(desk, telegram)
    await desk.deliver()
    await desk.request_refund(charge_id)
    await telegram.add_fault(**fault, method=METHOD, count=AWAY_ATTEMPTS_MAX)
    pauses = []
    for _ in range(AWAY_ATTEMPTS_MAX - 1):
        assert await worker.work_once() == 1
        due_at = (await desk.event(f"refund:{charge_id}")).due_at
        assert due_at is not None
        pauses.append(due_at - desk.clock())
        desk.clock.now = due_at
    assert all(longer > shorter for shorter, longer in pairwise(pauses[:10]))
    assert max(pauses) <= timedelta(seconds=BACKOFF_SECONDS_MAX * 1.5)
    assert await worker.work_once() == 1
    event = await desk.event(f"refund:{charge_id}")
    assert (event.status, event.outcome, event.due_at) == (EventStatus.FAILED, EventOutcome.PARKED, None)
    assert await desk.told(event.event_id) == [(Notice.PARKED, ADMIN_CHAT_ID)]

    # Somebody asks again when Telegram is back.
    await desk.request_refund(charge_id, reply_chat_id=ADMIN_ID)
    assert await worker.work_once() == 1
    assert (await desk.event(f"refund:{charge_id}")).outcome == EventOutcome.REFUNDED
    assert (Notice.REFUND_DONE, ADMIN_ID) in await desk.told(f"refund:{charge_id}")
    assert await _refunds_at_telegram(telegram) == 1


@pytest.mark.criterion("E1")
async def test_a_parked_refund_that_is_asked_for_again_has_all_its_attempts_before_it(
    desk: Desk, worker: Worker, telegram: SandboxClient
) -> None:
    charge_id = await _sell(desk, telegram)
    await desk.request_refund(charge_id)
    await telegram.add_fault(FaultKind.SERVER_ERROR, METHOD, count=AWAY_ATTEMPTS_MAX + 1)
    for _ in range(AWAY_ATTEMPTS_MAX):
        await worker.work_once()
        desk.clock.now = (await desk.event(f"refund:{charge_id}")).due_at or desk.clock.now
    assert (await desk.event(f"refund:{charge_id}")).outcome == EventOutcome.PARKED
    await desk.request_refund(charge_id)
    await worker.work_once()
    tried = await desk.event(f"refund:{charge_id}")
    assert (tried.attempts, tried.due_at is None) == (1, False)


@pytest.mark.criterion("E1")
async def test_while_telegram_asks_for_a_pause_no_refund_is_sent_and_charges_are_settled(
    desk: Desk, worker: Worker, telegram: SandboxClient
) -> None:
    refunds = []
    for buyer in (BUYER, STRANGER):
        charge_id = await _sell(desk, telegram, buyer)
        refunds.append((await desk.request_refund(charge_id)).event_id)
        desk.clock.advance(seconds=1)
    await desk.record(charge("another"))
    await telegram.add_fault(FaultKind.RETRY_AFTER, METHOD, retry_after_seconds=33)
    assert await worker.work_once() == 3
    asked = await desk.event(refunds[0])
    assert (asked.status, asked.attempts, asked.claimed_until) == (EventStatus.PENDING, 0, None)
    assert asked.due_at == desk.clock() + timedelta(seconds=33)
    assert len(await telegram.calls(METHOD)) == 1
    assert (await desk.event("another")).outcome == EventOutcome.GRANTED
    # A refund that Telegram tells of needs no call.
    await desk.record(refund(charge("another")))
    assert await worker.work_once() == 1
    assert (await desk.event("refund:another")).outcome == EventOutcome.REFUNDED
    desk.clock.advance(seconds=32)
    assert await worker.work_once() == 0
    desk.clock.advance(seconds=1)
    assert await worker.work_once() == 2
    assert [(await desk.event(event_id)).outcome for event_id in refunds] == 2 * [EventOutcome.REFUNDED]
    assert await _refunds_at_telegram(telegram) == 2


async def test_a_start_settles_charges_and_leaves_refunds_which_ask_telegram_to_the_loop(
    desk: Desk, worker: Worker, telegram: SandboxClient
) -> None:
    charge_id = await _sell(desk, telegram)
    await desk.request_refund(charge_id)
    # As the process that died while it called.
    assert await worker._sender._claim(f"refund:{charge_id}") is not None
    await desk.record(charge("another"))
    await worker.catch_up()
    assert (await desk.event("another")).outcome == EventOutcome.GRANTED
    assert await telegram.calls(METHOD) == []
    assert await worker.work_once() == 1
    assert (await desk.event(f"refund:{charge_id}")).outcome == EventOutcome.REFUNDED


@pytest.mark.criterion("S2")
async def test_charge_of_a_stranger_is_refunded_once(desk: Desk, worker: Worker, telegram: SandboxClient) -> None:
    await telegram.add_person("Stranger", id=STRANGER.telegram_id)
    paid = charge(payer=STRANGER, buyer=BUYER)
    past = PastPayment(STRANGER.telegram_id, paid.payload, paid.amount, paid.happened_at)
    (charge_id,) = await telegram.add_past_payments([past])
    await desk.record(charge(charge_id, payer=STRANGER, payload=paid.payload))
    while await worker.work_once():
        pass
    assert (await telegram.person(STRANGER.telegram_id)).balance_stars == 200
    assert (await desk.event(charge_id)).outcome == EventOutcome.REFUNDED
    assert await _refunds_at_telegram(telegram) == 1
