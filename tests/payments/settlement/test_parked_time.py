"""A parked charge after /retry: its whole time opens, and an admin hears if nothing does."""

from datetime import timedelta

import pytest

from db.states import EventOutcome
from db.tables import StripeEvent
from payments.audit import events, transitions
from payments.audit.facts import ChargeFact
from payments.effects import SILENT, OutwardEffects
from payments.notices import Notice
from payments.sale.catalog import Catalog
from payments.settlement.settlement import Settlement
from payments.settlement.worker import Worker
from payments.subscriptions.chain import Terms
from payments.waiting import RetryResult
from tests.support.cards import card_charge
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import ADMIN_CHAT_ID, ADMINS, BUYER, CATALOG, SIGNER, charge, refund
from tests.support.subscription_facts import MONTH, paid

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
OPENED_NOTHING = (Notice.NOTHING_OPENED, ADMIN_CHAT_ID)


def _without_plans(desk: Desk) -> Desk:
    """Return the desk with a catalog that lacks every plan."""
    effects = OutwardEffects(desk.clock, ADMINS)
    return Desk(desk.database, desk.clock, Settlement(Catalog({}), SIGNER, desk.clock, effects, terms=Terms()))


async def _take_up(desk: Desk, charge_id: str) -> StripeEvent:
    assert await desk.retry(charge_id) is RetryResult.BEGUN
    event = await desk.settle(charge_id)
    assert event is not None
    return event


@pytest.mark.parametrize("days", [0.5, 6.9, 7.1, 29, 90, 400])
@pytest.mark.parametrize(
    "charged", [charge("X", "old"), charge("X", "bundle"), card_charge("ch_1")], ids=["Stars", "two", "card"]
)
async def test_parked_charge_opens_its_whole_time(desk: Desk, charged: ChargeFact, days: float) -> None:
    assert (await _without_plans(desk).take(charged)).outcome == EventOutcome.PARKED
    desk.clock.now = START + days * DAY
    assert (await _take_up(desk, charged.event_id)).outcome == EventOutcome.GRANTED
    bought = 7 * DAY if charged.payload.startswith("sl1:old:") else MONTH
    until = await desk.expires_at()
    assert until is not None
    assert desk.clock() + bought <= until <= desk.clock() + bought + DAY
    assert (Notice.GRANTED, BUYER.telegram_id) in await desk.told()


async def test_charge_parked_again_opens_its_whole_time_at_last(desk: Desk) -> None:
    without = _without_plans(desk)
    await without.take(charge("X", "old"))
    for _ in range(3):
        desk.clock.now += 9 * DAY
        await without.retry("X")
        await without.settle("X")
    desk.clock.now += DAY
    await _take_up(desk, "X")
    assert await desk.expires_at() == desk.clock() + 7 * DAY


async def test_charge_parked_by_a_bug_opens_its_whole_time(desk: Desk, worker: Worker) -> None:
    await desk.record(charge("X", "old"))
    async with desk.database.transaction() as session:
        event = await events.lock(session, "X")
        assert event is not None
        while transitions.fail(event, "a bug", desk.clock(), jitter=0):
            pass
    desk.clock.now += 20 * DAY
    await desk.retry("X")
    await worker.process("X")
    assert await desk.expires_at() == desk.clock() + 7 * DAY


async def test_a_subscriptions_parked_time_follows_its_end(desk: Desk) -> None:
    await _without_plans(desk).take(paid(1))
    desk.clock.now += 10 * DAY
    await _take_up(desk, "sub-1")
    until = await desk.expires_at()
    assert until is not None
    assert until >= desk.clock() + MONTH
    await desk.take(refund(paid(1), desk.clock()))
    assert not await desk.holds()


async def test_a_refund_ends_what_was_given_back_as_well(desk: Desk) -> None:
    await _without_plans(desk).take(charge("X", "old"))
    desk.clock.now += 20 * DAY
    await _take_up(desk, "X")
    await desk.take(refund(charge("X", "old"), desk.clock()))
    assert not await desk.holds()


async def test_a_rebuild_gives_no_time_back(desk: Desk) -> None:
    await _without_plans(desk).take(charge("X", "old"))
    desk.clock.now += 20 * DAY
    await desk.retry("X")
    in_silence = Desk(desk.database, desk.clock, Settlement(CATALOG, SIGNER, desk.clock, SILENT, terms=Terms()))
    await in_silence.settle("X")
    assert await desk.expires_at() == START + 7 * DAY


async def test_an_admin_hears_that_what_was_taken_up_opens_nothing(desk: Desk) -> None:
    # The ledger brings it when its time is over.
    desk.clock.now = START + 60 * DAY
    await _without_plans(desk).take(charge("X", "old"))
    await _take_up(desk, "X")
    assert not await desk.holds()
    told = await desk.told("X")
    assert OPENED_NOTHING in told
    assert (Notice.GRANTED, BUYER.telegram_id) not in told


async def test_other_access_does_not_hide_that_a_charge_opened_nothing(desk: Desk) -> None:
    desk.clock.now = START + 60 * DAY
    await _without_plans(desk).take(charge("X", "old"))
    await desk.take(charge("Y", at=desk.clock()))
    await _take_up(desk, "X")
    assert OPENED_NOTHING in await desk.told("X")


async def test_an_admin_hears_nothing_when_it_opens_something(desk: Desk) -> None:
    await _without_plans(desk).take(charge("X", "old"))
    desk.clock.now += 20 * DAY
    await _take_up(desk, "X")
    assert OPENED_NOTHING not in await desk.told("X")


@pytest.mark.parametrize("ahead", [HOUR + timedelta(minutes=5), 5 * HOUR, 30 * DAY], ids=str)
async def test_a_clock_that_is_ahead_gives_no_day_away(desk: Desk, ahead: timedelta) -> None:
    telegram_now = desk.clock.now
    desk.clock.now += ahead
    effects = OutwardEffects(desk.clock, ADMINS)
    settlement = Settlement(CATALOG, SIGNER, desk.clock, effects, telegram_now=lambda: telegram_now, terms=Terms())
    desk = Desk(desk.database, desk.clock, settlement)
    await desk.take(charge("X"))
    assert await desk.expires_at() == START + MONTH


@pytest.mark.parametrize("behind", [timedelta(minutes=5), 3 * HOUR, 3 * DAY, 400 * DAY], ids=str)
@pytest.mark.parametrize(
    "charged",
    [charge("X"), charge("X", "life"), paid(1, charge_id="X"), card_charge("ch_1")],
    ids=["days", "life", "sub", "card"],
)
async def test_a_clock_that_is_behind_shuts_nobody_out(desk: Desk, charged: ChargeFact, behind: timedelta) -> None:
    desk.clock.now -= behind
    await desk.take(charged)
    assert await desk.holds()
    desk.clock.now += behind
    assert await desk.holds()


@pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=str)
@pytest.mark.parametrize("days", [31, 50, 60, 100])
async def test_parked_renewals_give_back_no_more_than_was_paid_for(
    desk: Desk, order: tuple[int, ...], days: int
) -> None:
    without = _without_plans(desk)
    await without.take(paid(1))
    desk.clock.now = START + MONTH
    await without.take(paid(2))
    desk.clock.now = START + days * DAY
    for number in order:
        assert (await _take_up(desk, f"sub-{number}")).outcome == EventOutcome.GRANTED
    until = await desk.expires_at()
    assert until is not None
    assert 2 * MONTH <= until - desk.clock() <= 2 * MONTH + DAY + HOUR
