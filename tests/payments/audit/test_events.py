from datetime import timedelta

import pytest
from sqlalchemy import select, update

from db.tables import StripeEvent
from payments.audit import events
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import charge
from tests.support.rows import add_other_services_event

pytestmark = pytest.mark.engines("sqlite", "postgresql")

MINUTE = timedelta(minutes=1)


async def test_due_rows_come_in_order_and_bounded(desk: Desk) -> None:
    for number in (3, 1, 2):
        desk.clock.now = START + number * MINUTE
        await desk.record(charge(f"at {number}"))
    desk.clock.now = START + 3 * MINUTE
    await desk.record(charge("at 0"))
    async with desk.database.transaction() as session:
        await add_other_services_event(session, "another's", await desk.user_id())
        await session.execute(update(StripeEvent).where(StripeEvent.event_id == "another's").values(due_at=START))
        claimed = (await session.scalars(select(StripeEvent).where(StripeEvent.event_id == "at 1"))).one()
        claimed.claimed_until = START + 3 * MINUTE + timedelta(microseconds=1)
    async with desk.database.reading() as session:
        assert await events.due(session, START + 2 * MINUTE - timedelta(microseconds=1), 9, but=()) == []
        assert await events.due(session, START + 2 * MINUTE, 9, but=()) == ["at 2"]
        assert await events.due(session, START + 3 * MINUTE, 9, but=()) == ["at 2", "at 0", "at 3"]
        assert await events.due(session, START + 3 * MINUTE, 2, but=()) == ["at 2", "at 0"]
        assert await events.due(session, START + 4 * MINUTE, 9, but=()) == ["at 1", "at 2", "at 0", "at 3"]
