"""A charge that a former version parked without the moment: after the migration its whole time opens."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from alembic import command
from sqlalchemy import insert, text

from db.engine import Database
from db.migrate import _config, migrate
from db.states import ORIGIN, EventOutcome, EventStatus
from db.tables import Base, StripeEvent, User, new_id
from payments.notices import Notice
from payments.waiting import RetryResult
from tests.support.clock import START, FakeClock
from tests.support.desk import Desk
from tests.support.money import ADMIN_CHAT_ID, BUYER, charge

DAY = timedelta(days=1)
BEFORE = "0010"
"""The last revision at which nobody noted since when something is parked."""


async def _parked_before(database: Database, *, recorded_after: timedelta) -> None:
    """Make a database as such a desk leaves it, with a charge of a week that it has parked."""
    paid = charge("X", "old")
    person = {"id": new_id(), "telegram_id": BUYER.telegram_id, "created_at": START}
    event = {
        "id": new_id(),
        "event_id": paid.event_id,
        "event_type": paid.event_type,
        "payment_method": paid.method.name,
        "customer_id": person["id"],
        "amount_cents": paid.amount,
        "currency": paid.currency,
        "status": EventStatus.FAILED,
        "webhook_timestamp": paid.happened_at,
        "created_at": START + recorded_after,
        "outcome": EventOutcome.PARKED,
        "origin": ORIGIN,
        "payload": paid.payload,
        "is_recurring": False,
        "error": "plan_missing",
    }
    async with database.migration() as connection:
        await connection.run_sync(lambda sync: command.upgrade(_config(sync), BEFORE))
        for table, values in ((User, person), (StripeEvent, event)):
            await connection.execute(insert(Base.metadata.tables[table.__tablename__]), values)
    await migrate(database, 1)


@pytest.mark.parametrize("days", [5, 20, 400])
async def test_charge_parked_by_an_earlier_version_opens_its_whole_time(
    empty_database_url: str, open_database: Callable[[str], Database], clock: FakeClock, days: int
) -> None:
    database = open_database(empty_database_url)
    await _parked_before(database, recorded_after=timedelta(seconds=2))
    desk = Desk(database, clock)
    clock.now = START + days * DAY
    assert await desk.retry("X") is RetryResult.BEGUN
    assert (await desk.settle("X")) is not None
    until = await desk.expires_at()
    assert until is not None
    assert clock.now + 7 * DAY <= until <= clock.now + 8 * DAY


async def test_charge_parked_months_late_opens_nothing(
    empty_database_url: str, open_database: Callable[[str], Database], clock: FakeClock
) -> None:
    database = open_database(empty_database_url)
    await _parked_before(database, recorded_after=90 * DAY)
    desk = Desk(database, clock)
    clock.now = START + 90 * DAY
    assert await desk.retry("X") is RetryResult.BEGUN
    await desk.settle("X")
    assert (Notice.NOTHING_OPENED, ADMIN_CHAT_ID) in await desk.told("X")
    async with database.reading() as session:
        rows = await session.execute(text("SELECT count(*) FROM stripe_events WHERE parked_at IS NULL"))
        assert rows.scalar_one() == 0
