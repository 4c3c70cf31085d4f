import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from typing import Final

import pytest
from aiogram import Bot
from sqlalchemy import text

from db.engine import Database
from db.tables import EventOutcome, EventStatus, StripeEvent
from payments.audit import events
from payments.audit.facts import Person
from payments.audit.history import asked_before
from payments.channel import LEASE_SECONDS, by_name
from payments.errors import RefundRefusal, RefundRefusedError
from payments.loop import AWAY_ATTEMPTS_MAX, BACKOFF_SECONDS_MAX
from payments.notices import Notice
from payments.pause import Pause
from payments.refunds import requests
from payments.refunds.sending import RefundSender
from payments.settlement.worker import Worker
from payments.stars import StarsChannel
from sandbox.client import SandboxClient
from sandbox.faults import FaultKind
from sandbox.history import PastPayment
from tests.support.clock import START
from tests.support.desk import Desk, dump
from tests.support.money import ADMIN_CHAT_ID, BUYER, STRANGER, charge, refund
from tests.support.rows import add_other_services_event

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


@pytest.mark.criterion("R2", "R5", "R7")
async def test_asking_puts_the_refund_on_record(desk: Desk) -> None:
    await desk.take(charge())
    now = desk.clock.advance(days=1)
    await desk.request_refund("charge-1")
    event = await desk.event("refund:charge-1")
    assert (event.event_type, event.refund_of) == ("telegram_stars.refunded", "charge-1")
    assert (event.amount_cents, event.currency, event.customer_id) == (200, "XTR", await desk.user_id())
    assert (event.status, event.due_at, event.created_at, event.webhook_timestamp) == (0, now, now, None)
    assert (event.reason, event.requested_by) == ("wrong plan", "telegram:42")
    # It is Telegram that gives back: until it has, the access stays.
    await desk.settle("refund:charge-1")
    assert (await desk.event("refund:charge-1")).status == EventStatus.PENDING
    assert await desk.holds()


@pytest.mark.criterion("R8")
@pytest.mark.parametrize("is_settled", [False, True], ids=["told", "settled"])
async def test_what_telegram_has_refunded_is_not_asked_for_again(desk: Desk, *, is_settled: bool) -> None:
    await desk.take(charge())
    await desk.record(refund(charge()))
    if is_settled:
        await desk.settle("refund:charge-1")
    await _is_refused(desk, "charge-1", RefundRefusal.ALREADY_REFUNDED)


@pytest.mark.criterion("R8")
async def test_what_is_under_way_is_not_asked_for_again(desk: Desk) -> None:
    await desk.take(charge())
    await desk.request_refund("charge-1")
    await _is_refused(desk, "charge-1", RefundRefusal.UNDER_WAY)
    await desk.settle("refund:charge-1", confirmed=True)
    await _is_refused(desk, "charge-1", RefundRefusal.ALREADY_REFUNDED)


async def _ask(desk: Desk, reason: str | None, requested_by: str) -> StripeEvent:
    async with desk.database.transaction() as session:
        return await requests.request_refund(
            session, "charge-1", reason=reason, requested_by=requested_by, reply_chat_id=None, now=desk.clock()
        )


async def _park(desk: Desk) -> None:
    async with desk.database.transaction() as session:
        refund = await events.lock(session, "refund:charge-1")
        assert refund is not None
        await desk.settlement.parking.park(session, refund, "BALANCE_TOO_LOW")


@pytest.mark.criterion("R7")
@pytest.mark.parametrize(
    ("reason", "requested_by", "stands", "before"),
    [
        ("another reason", "telegram:43", ("another reason", "telegram:43"), [("telegram:42", "wrong plan")]),
        (None, "cli:root", ("wrong plan", "cli:root"), [("telegram:42", "wrong plan")]),
        ("another reason", "telegram:42", ("another reason", "telegram:42"), [("telegram:42", "wrong plan")]),
        ("wrong plan", "telegram:42", ("wrong plan", "telegram:42"), []),
        (None, "telegram:42", ("wrong plan", "telegram:42"), []),
    ],
    ids=["another admin", "on the server, without a reason", "another reason", "the same", "the same, in short"],
)
async def test_who_asks_for_a_parked_refund_anew_is_on_record_beside_who_asked_before(
    desk: Desk, reason: str | None, requested_by: str, stands: tuple[str, str], before: list[tuple[str, str]]
) -> None:
    await desk.take(charge())
    await desk.request_refund("charge-1")
    await _park(desk)
    again = await _ask(desk, reason, requested_by)
    assert (again.reason, again.requested_by) == stands
    # Taken up again, it waits; and is asked for once more.
    third = await _ask(desk, "a third reason", "telegram:44")
    assert (third.reason, third.requested_by) == ("a third reason", "telegram:44")
    assert asked_before(await desk.event("refund:charge-1")) == [*before, (stands[1], stands[0])]


@pytest.mark.criterion("R7")
async def test_who_asked_first_and_who_asked_lately_are_kept_of_many(desk: Desk) -> None:
    await desk.take(charge())
    await desk.request_refund("charge-1")
    await _park(desk)
    count = 2 * requests.ASKED_BEFORE_MAX
    for number in range(count):
        await _ask(desk, f"reason {number}", "telegram:43")
    kept = asked_before(await desk.event("refund:charge-1"))
    latest = [("telegram:43", f"reason {number}") for number in range(count - requests.ASKED_BEFORE_MAX, count - 1)]
    assert kept == [("telegram:42", "wrong plan"), *latest]


@pytest.mark.criterion("R7", "S2")
async def test_what_goes_back_by_itself_and_is_parked_is_the_admins_who_takes_it_up(desk: Desk) -> None:
    await desk.take(charge(payer=STRANGER, buyer=BUYER))
    await _park(desk)
    again = await _ask(desk, "sorry", "telegram:43")
    assert (again.requested_by, asked_before(again)) == ("telegram:43", [("starledger", "not_the_buyer")])


@pytest.mark.criterion("R8")
@pytest.mark.parametrize("is_done", [False, True], ids=["under way", "done"])
async def test_a_second_admin_is_told_whose_request_stands(desk: Desk, *, is_done: bool) -> None:
    await desk.take(charge())
    await desk.request_refund("charge-1")
    if is_done:
        await desk.settle("refund:charge-1", confirmed=True)
    with pytest.raises(RefundRefusedError) as refused:
        await _ask(desk, "another reason", "telegram:43")
    assert (refused.value.requested_by, refused.value.requested_why) == ("telegram:42", "wrong plan")
    with pytest.raises(RefundRefusedError) as refused:
        await _ask(desk, None, "telegram:42")
    assert refused.value.requested_by is None


@pytest.mark.criterion("R7", "R8")
async def test_of_two_admins_at_once_one_has_the_refund_and_the_other_is_told_so(desk: Desk) -> None:
    await desk.take(charge())
    asked = await asyncio.gather(
        *(_ask(desk, f"reason {number}", f"telegram:{number}") for number in (1, 2)), return_exceptions=True
    )
    [refused] = [each for each in asked if isinstance(each, RefundRefusedError)]
    stands = await desk.event("refund:charge-1")
    assert (refused.requested_by, refused.requested_why) == (stands.requested_by, stands.reason)


@pytest.mark.criterion("I5")
async def test_what_is_no_charge_of_ours_is_not_refunded(desk: Desk) -> None:
    await desk.take(refund(charge("unknown")))
    async with desk.database.transaction() as session:
        await add_other_services_event(session, "stripe:ch_1", await desk.user_id())
    await _is_refused(desk, "nothing", RefundRefusal.UNKNOWN)
    await _is_refused(desk, "refund:unknown", RefundRefusal.UNKNOWN)
    await _is_refused(desk, "stripe:ch_1", RefundRefusal.NOT_OURS)


async def _is_refused(desk: Desk, charge_id: str, refusal: RefundRefusal) -> None:
    async with desk.database.reading() as session:
        before = await dump(session)
    with pytest.raises(RefundRefusedError) as refused:
        await desk.request_refund(charge_id)
    assert refused.value.refusal is refusal
    async with desk.database.reading() as session:
        assert await dump(session) == before


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
async def test_what_telegram_refuses_is_parked_at_once(desk: Desk, worker: Worker, telegram: SandboxClient) -> None:
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
async def test_what_a_stranger_paid_goes_back_by_itself_once(
    desk: Desk, worker: Worker, telegram: SandboxClient
) -> None:
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
