from datetime import datetime, timedelta

import pytest
from sqlalchemy import insert, select

from db.engine import Database
from db.tables import Checkout
from payments.checkout import CHECKOUTS_KEPT_DAYS, SWEEP_MAX, OldCheckouts
from tests.support.clock import FakeClock

pytestmark = pytest.mark.engines("sqlite", "postgresql")


async def _write(database: Database, created_at: datetime, count: int = 1) -> None:
    rows = [
        {
            "query_id": f"{created_at:%Y-%m-%d}-{number}",
            "telegram_id": 7,
            "amount": 200,
            "currency": "XTR",
            "payload": "p",
            "verdict": "accepted",
            "created_at": created_at,
        }
        for number in range(count)
    ]
    async with database.transaction() as session:
        await session.execute(insert(Checkout), rows)


async def _kept(database: Database) -> list[str]:
    async with database.reading() as session:
        return list(await session.scalars(select(Checkout.query_id).order_by(Checkout.query_id)))


async def test_checkouts_older_than_ninety_days_are_deleted(database: Database, clock: FakeClock) -> None:
    edge = clock() - timedelta(days=CHECKOUTS_KEPT_DAYS)
    await _write(database, edge - timedelta(days=1))
    await _write(database, edge)
    await _write(database, clock())
    sweep = OldCheckouts(database, clock)
    assert await sweep.sweep_once() == 1
    assert await _kept(database) == sorted([f"{edge:%Y-%m-%d}-0", f"{clock():%Y-%m-%d}-0"])
    # Within the hour it does not look again; then it does, and so it does under a clock that was set.
    clock.advance(minutes=59)
    assert await sweep.sweep_once() == 0
    clock.advance(days=CHECKOUTS_KEPT_DAYS + 1)
    assert await sweep.sweep_once() == 2


async def test_many_go_in_batches_without_waiting_for_the_hour(database: Database, clock: FakeClock) -> None:
    await _write(database, clock() - timedelta(days=CHECKOUTS_KEPT_DAYS + 1), SWEEP_MAX + 1)
    sweep = OldCheckouts(database, clock)
    assert [await sweep.sweep_once() for _ in range(3)] == [SWEEP_MAX, 1, 0]


@pytest.mark.parametrize("ahead_days", [400, -400])
async def test_wrong_clock_deletes_no_checkout(database: Database, clock: FakeClock, ahead_days: int) -> None:
    telegram_now = clock()
    await _write(database, telegram_now)
    clock.advance(days=ahead_days)
    await _write(database, clock())
    sweep = OldCheckouts(database, clock, lambda: telegram_now)
    assert await sweep.sweep_once() == 0
