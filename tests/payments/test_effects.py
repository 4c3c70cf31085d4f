from datetime import timedelta

import pytest
from sqlalchemy import update

from db.states import EventOutcome, EventStatus
from db.tables import StripeEvent
from payments.audit.facts import ChargeFact
from payments.effects import SILENT, Effects, OutwardEffects
from payments.notices import Notice
from payments.sale.eligibility import PurchaseObstacle
from payments.settlement.settlement import Settlement
from payments.subscriptions.chain import Terms
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import BUYER, CATALOG, SIGNER, STRANGER, charge, order, refund

DAY = timedelta(days=1)


@pytest.fixture
def silent(desk: Desk) -> Desk:
    """Give the desk as the rebuild has it."""
    return Desk(desk.database, desk.clock, Settlement(CATALOG, SIGNER, desk.clock, SILENT, terms=Terms()))


@pytest.mark.parametrize(
    "fact",
    [
        charge(),
        charge(payload="another program's"),
        charge(payload="sl1:damaged"),
        charge(payer=STRANGER, buyer=BUYER),
        refund(charge()),
    ],
    ids=["granted", "foreign", "parked", "given back", "refunded"],
)
async def test_without_effects_nobody_is_told_whatever_comes(silent: Desk, fact: ChargeFact) -> None:
    assert (await silent.take(fact)).due_at is None
    assert await silent.told() == []


async def test_without_effects_the_asker_of_a_refund_is_not_told_either(desk: Desk, silent: Desk) -> None:
    await silent.take(charge())
    asked = await desk.request_refund("charge-1", reply_chat_id=42)
    await silent.settle(asked.event_id, confirmed=True)
    assert await desk.told() == [(Notice.REFUND_DONE, 42)]
    assert await desk.due_notices() == []


async def test_without_effects_what_would_go_back_by_itself_is_parked_and_goes_back_when_taken_up(
    desk: Desk, silent: Desk
) -> None:
    event = await silent.take(charge(payer=STRANGER, payload=SIGNER.sign(order("month", BUYER))))
    assert (event.status, event.outcome) == (EventStatus.FAILED, EventOutcome.PARKED)
    assert event.error == PurchaseObstacle.NOT_THE_BUYER
    await desk.retry("charge-1")
    await desk.settle("charge-1")
    assert (await desk.event("refund:charge-1")).due_at is not None


def test_a_desk_that_is_open_leaves_no_effect_out() -> None:
    assert {name for name in vars(Effects) if not name.startswith("_")} <= vars(OutwardEffects).keys()


async def test_without_effects_no_time_is_given_back(desk: Desk, silent: Desk) -> None:
    desk.clock.advance(days=2)
    await silent.take(charge())
    assert await desk.expires_at() == START + 30 * DAY


@pytest.mark.parametrize(
    ("late", "from_ledger", "is_told"),
    [
        (7 * DAY, True, True),
        (7 * DAY + timedelta(seconds=1), True, False),
        (7 * DAY + timedelta(seconds=1), False, True),
    ],
)
async def test_a_charge_that_the_ledger_brings_as_old_news_is_granted_and_not_told(
    desk: Desk, late: timedelta, *, from_ledger: bool, is_told: bool
) -> None:
    desk.clock.now = START + late
    await desk.record(charge())
    if from_ledger:
        async with desk.database.transaction() as session:
            await session.execute(update(StripeEvent).values(ledger_seen_at=desk.clock()))
    await desk.settle("charge-1")
    assert await desk.access() is not None
    assert await desk.told() == ([(Notice.GRANTED, BUYER.telegram_id)] if is_told else [])


async def test_a_charge_from_the_ledger_that_waited_longer_is_told_after_all(desk: Desk) -> None:
    await desk.record(charge())
    async with desk.database.transaction() as session:
        await session.execute(update(StripeEvent).values(ledger_seen_at=desk.clock()))
    desk.clock.advance(days=10)
    await desk.settle("charge-1")
    assert await desk.told() == [(Notice.GRANTED, BUYER.telegram_id)]
