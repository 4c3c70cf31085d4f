"""A clock that jumps ahead and comes back: subscriptions that it ended run again, and none waits for long."""

from datetime import timedelta

import pytest
from loguru import logger
from sqlalchemy import update

from db.states import Renewal
from db.tables import OutboxMessage, StripeEvent, Subscription
from payments.loop import AHEAD_MAX, COOLDOWN_SECONDS, LEASE_SECONDS_MAX, Cooldown
from payments.settlement.worker import Worker
from payments.subscriptions import listing
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.logs import logged
from tests.support.money import BUYER, charge
from tests.support.renewals import Answering, keeper
from tests.support.subscription_facts import MONTH, paid, row, said, tell

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


@pytest.mark.criterion("N3")
@pytest.mark.parametrize("back_to", [DAY, MONTH - DAY, MONTH + timedelta(minutes=30), MONTH + 2 * DAY])
async def test_after_a_jump_of_the_clock_a_subscription_runs_and_can_be_cancelled(
    desk: Desk, back_to: timedelta
) -> None:
    await desk.take(paid(1))
    loop = keeper(desk)
    desk.clock.now = START + 1.2 * MONTH
    await loop.work_once()
    assert (await row(desk)).state == "ended"
    desk.clock.now = START + back_to
    for _ in range(3):
        await loop.work_once()
    assert await loop.work_once() == 0
    async with desk.database.transaction() as session:
        asked = await listing.record_wish(
            session, (await row(desk)).id, BUYER.telegram_id, Renewal.CANCELED, desk.clock()
        )
    assert ((await row(desk)).state, asked is not None) == ("active", True)
    desk.clock.now = START + 1.2 * MONTH
    await loop.work_once()
    assert (await row(desk)).state == "ended", "its own time comes all the same"


@pytest.mark.criterion("N3")
@pytest.mark.parametrize("state", ["canceled", "failed"])
async def test_subscription_ended_by_a_fast_clock_gets_telegrams_state_back(desk: Desk, state: str) -> None:
    await desk.take(paid(1))
    desk.clock.now = START + MONTH - DAY
    await tell(desk, said(state, 11))
    loop = keeper(desk)
    desk.clock.now = START + 3 * MONTH
    await loop.work_once()
    assert (await row(desk)).state == "ended"
    desk.clock.now = START + MONTH - DAY / 2
    await loop.work_once()
    assert (await row(desk)).state == state


@pytest.mark.criterion("N3")
@pytest.mark.parametrize("column", ["due_at", "claimed_until"])
async def test_a_renewal_that_was_put_off_by_a_clock_ahead_is_brought_about(desk: Desk, column: str) -> None:
    await desk.take(paid(1))
    async with desk.database.transaction() as session:
        await listing.record_wish(session, (await row(desk)).id, BUYER.telegram_id, Renewal.CANCELED, desk.clock())
        await session.execute(update(Subscription).values({column: START + 40 * DAY}))
    telegram = Answering()
    await keeper(desk, telegram).work_once()
    assert telegram.asked == [("sub-1", True)]


@pytest.mark.criterion("E1")
@pytest.mark.parametrize(
    ("values", "moved"),
    [
        ({"due_at": START + AHEAD_MAX + SECOND}, 1),
        ({"due_at": START + AHEAD_MAX}, 0),
        ({"claimed_until": START + timedelta(seconds=LEASE_SECONDS_MAX + 1)}, 1),
        ({"claimed_until": START + timedelta(seconds=LEASE_SECONDS_MAX)}, 0),
    ],
    ids=["put off by a clock ahead", "put off", "claimed by a clock ahead", "claimed"],
)
async def test_a_payment_waits_no_longer_than_anything_may_be_put_off(
    desk: Desk, worker: Worker, values: dict[str, object], moved: int
) -> None:
    await desk.record(charge())
    async with desk.database.transaction() as session:
        await session.execute(update(StripeEvent).values(values))
    assert await worker.work_once() == moved
    assert await worker.work_once() == 0


def test_cooldown_lasts_its_time_and_ends_when_the_clock_goes_back(desk: Desk) -> None:
    cooldown = Cooldown(desk.clock)
    with logged() as records:
        cooldown.add("x", "an event", RuntimeError("a bug"), logger)
    assert records
    desk.clock.now = START + timedelta(seconds=COOLDOWN_SECONDS) - SECOND
    assert set(cooldown.current()) == {"x"}
    desk.clock.now = START - SECOND
    assert set(cooldown.current()) == set()


@pytest.mark.criterion("E1")
async def test_the_worker_goes_by_the_clock_that_was_set_back(desk: Desk, worker: Worker) -> None:
    desk.clock.now = START + 10 * DAY
    await desk.record(charge())
    async with desk.database.transaction() as session:
        await session.execute(update(StripeEvent).values(due_at=desk.clock() + timedelta(minutes=1)))
    desk.clock.now = START
    assert await worker.work_once() == 1
    assert await desk.holds()
    async with desk.database.reading() as session:
        assert await session.get(OutboxMessage, 1) is not None
