"""A refund is asked for: the row that says so, and the requests that are refused."""

import asyncio

import pytest

from db.states import EventStatus
from db.tables import StripeEvent
from payments.audit import events
from payments.audit.history import asked_before
from payments.errors import RefundRefusal, RefundRefusedError
from payments.refunds import requests
from tests.support.desk import Desk, dump
from tests.support.money import BUYER, STRANGER, charge, refund
from tests.support.rows import add_other_services_event

pytestmark = pytest.mark.engines("sqlite", "postgresql")


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
async def test_request_for_a_charge_refunded_by_telegram_is_refused(desk: Desk, *, is_settled: bool) -> None:
    await desk.take(charge())
    await desk.record(refund(charge()))
    if is_settled:
        await desk.settle("refund:charge-1")
    await _is_refused(desk, "charge-1", RefundRefusal.ALREADY_REFUNDED)


@pytest.mark.criterion("R8")
async def test_request_while_a_refund_is_under_way_is_refused(desk: Desk) -> None:
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
async def test_new_asker_of_a_parked_refund_is_recorded_beside_the_earlier(
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
async def test_first_and_latest_of_many_askers_are_kept(desk: Desk) -> None:
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
async def test_admin_who_requests_a_parked_automatic_refund_owns_it(desk: Desk) -> None:
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
async def test_second_of_two_simultaneous_requests_is_refused_with_the_first(desk: Desk) -> None:
    await desk.take(charge())
    asked = await asyncio.gather(
        *(_ask(desk, f"reason {number}", f"telegram:{number}") for number in (1, 2)), return_exceptions=True
    )
    [refused] = [each for each in asked if isinstance(each, RefundRefusedError)]
    stands = await desk.event("refund:charge-1")
    assert (refused.requested_by, refused.requested_why) == (stands.requested_by, stands.reason)


@pytest.mark.criterion("I5")
async def test_refund_of_unknown_or_foreign_charge_is_refused(desk: Desk) -> None:
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
