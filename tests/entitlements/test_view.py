"""The view `active_entitlements`, which other services read, agrees with `has_entitlement`."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import DateTime, text
from sqlalchemy.ext.asyncio import AsyncSession

from db.engine import Database
from entitlements import EntitlementService
from entitlements.fold import SLACK
from entitlements.service import Holding
from tests.support.rows import add_user

pytestmark = pytest.mark.engines("sqlite", "postgresql")

ZONES = ("UTC", "Asia/Tokyo", "America/New_York")
"""The view compares with the database's clock: taken as local time it would be hours off in two of these."""

_HALF_HOUR = timedelta(minutes=30)

# Everything begins and ends on a half hour from now, so that the seconds a test takes decide nothing.
_begins = st.integers(-72, -1).map(lambda hours: timedelta(hours=hours) + _HALF_HOUR)
_ends = st.integers(-80, 80).map(lambda hours: timedelta(hours=hours) + _HALF_HOUR)
_grants = st.lists(
    st.tuples(_begins, st.one_of(st.integers(1, 3), _ends, st.none()), st.booleans()), min_size=1, max_size=4
)


async def _view(session: AsyncSession, user_id: str) -> dict[str, datetime | None]:
    query = text("SELECT entitlement_type, expires_at FROM active_entitlements WHERE user_id = :id")
    rows = await session.execute(query.columns(expires_at=DateTime()), {"id": user_id})
    return {row.entitlement_type: row.expires_at and row.expires_at.replace(tzinfo=UTC) for row in rows}


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run the test in each time zone: the process's, which is SQLite's too, and by `_set_zone` the session's."""
    name: str = request.param
    with monkeypatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        yield name
    time.tzset()


async def _set_zone(session: AsyncSession, zone: str) -> None:
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(text(f"SET LOCAL TIME ZONE '{zone}'"))


@example(grants=[(-3 * SLACK, -_HALF_HOUR - SLACK, False)]).via("half an hour past its end")
@example(grants=[(-3 * SLACK, _HALF_HOUR - SLACK, False)]).via("half an hour before its end")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(grants=_grants)
async def test_the_view_agrees_with_the_service(
    database: Database, zone: str, grants: list[tuple[timedelta, int | timedelta | None, bool]]
) -> None:
    now = datetime.now(UTC)
    async with database.transaction() as session:
        await _set_zone(session, zone)
        user_id = await add_user(session)
        service = EntitlementService(session)
        for number, (begin, length, revoked) in enumerate(grants):
            await service.grant_entitlement(
                user_id,
                "premium",
                f"{user_id}:{number}",
                granted_at=now + begin,
                duration_days=length if isinstance(length, int) else None,
                ends_at=now + length if isinstance(length, timedelta) else None,
                revoked_at=now if revoked else None,
            )
        held = await service.has_entitlement(user_id, "premium", now)
        open_now = await _view(session, user_id)
        assert ("premium" in open_now) is held
        assert tuple(Holding(*row) for row in open_now.items()) == await service.holdings(user_id, now)


async def test_the_view_closes_on_the_very_microsecond(postgresql_database: Database, zone: str) -> None:
    async with postgresql_database.transaction() as session:
        await _set_zone(session, zone)
        # It stands still for as long as the transaction lasts.
        now = await session.scalar(text("SELECT now()"))
        service = EntitlementService(session)
        for microseconds, is_open in ((0, False), (1, True)):
            user_id = await add_user(session)
            await service.grant_entitlement(
                user_id,
                "premium",
                user_id,
                granted_at=now - timedelta(days=1),
                ends_at=now - SLACK + timedelta(microseconds=microseconds),
            )
            assert await service.has_entitlement(user_id, "premium", now) is is_open
            assert ("premium" in await _view(session, user_id)) is is_open
