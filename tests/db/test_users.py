"""Users are found by their Telegram id, and by the name that they had last."""

from db.engine import Database
from db.tables import User, new_id
from db.users import find_namesakes, find_user


async def _add(database: Database, username: str, *telegram_ids: int | None) -> None:
    async with database.transaction() as session:
        session.add_all(User(id=new_id(), telegram_id=each, username=username) for each in telegram_ids)


async def test_user_is_found_by_telegram_id_and_a_stranger_is_not(database: Database) -> None:
    await _add(database, "buyer_one", 5001)
    async with database.reading() as session:
        found = await find_user(session, 5001)
        assert found is not None
        assert found.username == "buyer_one"
        assert await find_user(session, 7001) is None


async def test_a_user_is_found_by_name_in_any_case(database: Database) -> None:
    await _add(database, "Buyer_One", 5001)
    async with database.reading() as session:
        found = await find_namesakes(session, "bUYER_oNE")
        assert [user.telegram_id for user in found] == [5001]
        assert await find_namesakes(session, "buyer%one") == []


async def test_a_name_that_passed_on_finds_both_accounts(database: Database) -> None:
    await _add(database, "buyer_one", 5002, 5001, None)
    async with database.reading() as session:
        found = await find_namesakes(session, "buyer_one")
    assert [user.telegram_id for user in found] == [5001, 5002]
