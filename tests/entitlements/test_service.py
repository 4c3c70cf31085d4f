import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import event, select

from db.engine import Database
from db.tables import Entitlement, EntitlementGrant
from entitlements import EntitlementService
from entitlements.errors import InvalidEntitlementTypeError, UnknownUserError
from entitlements.service import Holding
from tests.support.clock import START
from tests.support.rows import add_user

pytestmark = pytest.mark.engines("sqlite", "postgresql")

DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
async def user_id(database: Database) -> str:
    async with database.transaction() as session:
        return await add_user(session, telegram_id=77)


async def _standing(database: Database, user_id: str) -> Entitlement:
    async with database.reading() as session:
        return await session.get_one(Entitlement, (user_id, "premium"))


@pytest.mark.criterion("I1")
@pytest.mark.criterion("I2")
async def test_days_open_access_from_the_grant_to_their_end(database: Database, user_id: str) -> None:
    async with database.transaction() as session:
        service = EntitlementService(session)
        assert await service.grant_entitlement(user_id, "premium", "test:1", granted_at=START, duration_days=30)
        held = {
            moment: await service.has_entitlement(user_id, "premium", moment)
            for moment in (START - MICROSECOND, START, START + 30 * DAY - MICROSECOND, START + 30 * DAY)
        }
        assert list(held.values()) == [False, True, True, False]
        assert not await service.has_entitlement(user_id, "other", START)
    standing = await _standing(database, user_id)
    assert (standing.expires_at, standing.revoked_at) == (START + 30 * DAY, None)


async def test_two_sources_add_up(database: Database, user_id: str) -> None:
    async with database.transaction() as session:
        service = EntitlementService(session)
        for source in ("test:1", "test:2"):
            assert await service.grant_entitlement(user_id, "premium", source, granted_at=START, duration_days=30)
    assert (await _standing(database, user_id)).expires_at == START + 60 * DAY


@pytest.mark.criterion("C3")
async def test_a_source_grants_once(database: Database, user_id: str) -> None:
    for expected in (True, False):
        async with database.transaction() as session:
            granted = await EntitlementService(session).grant_entitlement(
                user_id, "premium", "test:1", granted_at=START, duration_days=30
            )
            assert granted is expected
    assert (await _standing(database, user_id)).expires_at == START + 30 * DAY


@pytest.mark.criterion("S10")
@pytest.mark.criterion("S9")
async def test_simultaneous_grants_of_one_source_are_one(database: Database, user_id: str) -> None:
    async def grant() -> bool:
        async with database.transaction() as session:
            return await EntitlementService(session).grant_entitlement(
                user_id, "premium", "test:1", granted_at=START, duration_days=30
            )

    assert sum(await asyncio.gather(*(grant() for _ in range(5)))) == 1
    assert (await _standing(database, user_id)).expires_at == START + 30 * DAY


@pytest.mark.criterion("R4")
@pytest.mark.criterion("I4")
async def test_revoking_takes_access_away_once(database: Database, user_id: str) -> None:
    async with database.transaction() as session:
        service = EntitlementService(session)
        for entitlement_type in ("premium", "extra"):
            await service.grant_entitlement(user_id, entitlement_type, "test:1", granted_at=START, duration_days=30)
    async with database.transaction() as session:
        service = EntitlementService(session)
        revoked = await service.revoke_entitlement("test:1", at=START + DAY, reason="refunded")
        assert revoked == ((user_id, "extra"), (user_id, "premium"))
        assert not await service.has_entitlement(user_id, "premium", START + DAY)
    async with database.transaction() as session:
        again = await EntitlementService(session).revoke_entitlement("test:1", at=START + 2 * DAY, reason="again")
        assert again == ()
    async with database.reading() as session:
        grants = (await session.scalars(select(EntitlementGrant))).all()
    assert {(grant.revoked_at, grant.revoke_reason) for grant in grants} == {(START + DAY, "refunded")}
    assert (await _standing(database, user_id)).revoked_at == START + DAY


async def test_revoking_one_of_two_leaves_the_other_one(database: Database, user_id: str) -> None:
    async with database.transaction() as session:
        service = EntitlementService(session)
        for source, days in (("test:1", 30), ("test:2", 7)):
            await service.grant_entitlement(user_id, "premium", source, granted_at=START, duration_days=days)
        await service.revoke_entitlement("test:1", at=START + DAY, reason="refunded")
    standing = await _standing(database, user_id)
    assert (standing.expires_at, standing.revoked_at) == (START + 7 * DAY, None)


async def test_a_grant_whose_refund_came_first_is_born_revoked(database: Database, user_id: str) -> None:
    async with database.transaction() as session:
        service = EntitlementService(session)
        granted = await service.grant_entitlement(
            user_id, "premium", "test:1", granted_at=START, revoked_at=START - DAY, revoke_reason="refunded"
        )
        assert granted
        assert not await service.has_entitlement(user_id, "premium", START)
    assert (await _standing(database, user_id)).revoked_at == START - DAY


async def test_holdings_are_what_is_open_by_type(database: Database, user_id: str) -> None:
    async with database.transaction() as session:
        service = EntitlementService(session)
        await service.grant_entitlement(user_id, "premium", "test:1", granted_at=START, duration_days=30)
        await service.grant_entitlement(user_id, "archive", "test:2", granted_at=START)
        await service.grant_entitlement(user_id, "over", "test:3", granted_at=START - 9 * DAY, duration_days=9)
        await service.grant_entitlement(user_id, "taken", "test:4", granted_at=START)
        await service.revoke_entitlement("test:4", at=START, reason="refunded")
        assert await service.holdings(user_id, START) == (
            Holding("archive", None),
            Holding("premium", START + 30 * DAY),
        )


async def test_held_for_life_is_what_has_no_end_and_was_granted_until_then(database: Database, user_id: str) -> None:
    async with database.transaction() as session:
        service = EntitlementService(session)
        await service.grant_entitlement(user_id, "days", "test:1", granted_at=START, duration_days=30)
        await service.grant_entitlement(user_id, "dated", "test:2", granted_at=START, ends_at=START + DAY)
        await service.grant_entitlement(user_id, "taken", "test:3", granted_at=START, revoked_at=START)
        await service.grant_entitlement(user_id, "archive", "test:4", granted_at=START)
        await service.grant_entitlement(user_id, "later", "test:5", granted_at=START + DAY)
        assert await service.held_for_life(user_id, START) == {"archive"}
        assert await service.held_for_life(user_id, START + DAY) == {"archive", "later"}
        assert await service.buyer_holds_for_life(1) == frozenset()


async def test_a_grant_takes_three_statements(database: Database, user_id: str) -> None:
    statements: list[str] = []
    async with database.transaction() as session:
        await session.connection()

        @event.listens_for(database._writer.sync_engine, "before_cursor_execute")
        def _count(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
            statements.append(statement.split(maxsplit=1)[0])

        await EntitlementService(session).grant_entitlement(user_id, "premium", "test:1", granted_at=START)
        assert statements == ["INSERT", "SELECT", "INSERT"]


async def test_invalid_user_id_handled(database: Database, user_id: str) -> None:
    async with database.transaction() as session:
        service = EntitlementService(session)
        with pytest.raises(UnknownUserError, match="nobody"):
            await service.grant_entitlement("nobody", "premium", "test:1", granted_at=START)
        # The transaction is still good for other work.
        assert await service.grant_entitlement(user_id, "premium", "test:1", granted_at=START)
    async with database.reading() as session:
        assert (await session.scalars(select(EntitlementGrant.user_id))).all() == [user_id]


@pytest.mark.parametrize("entitlement_type", ["", "Premium", "premium-plus", "a" * 21, "prämie", "premium\n"])
async def test_invalid_entitlement_type_handled(database: Database, user_id: str, entitlement_type: str) -> None:
    async with database.transaction() as session:
        with pytest.raises(InvalidEntitlementTypeError, match="not an entitlement type"):
            await EntitlementService(session).grant_entitlement(user_id, entitlement_type, "test:1", granted_at=START)
        assert (await session.scalars(select(EntitlementGrant))).all() == []
