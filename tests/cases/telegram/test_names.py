"""@usernames that pass to others: the buyers' and the bot's own."""

from datetime import timedelta
from typing import Any

from aiogram.methods import GetChat, GetMe, Response, TelegramMethod
from sqlalchemy import select

from db.tables import User
from tests.cases.telegram.history import record_charges
from tests.support.chats import Chats
from tests.support.refusals import refuse
from tests.support.statements import statements


async def _name(chats: Chats, telegram_id: int) -> str | None:
    async with chats.database.reading() as session:
        return (await session.scalars(select(User.username).where(User.telegram_id == telegram_id))).one()


async def test_renamed_buyer_is_found_by_the_new_name(chats: Chats) -> None:
    buyer, admin = chats.people.buyer, chats.people.admin
    await chats.buy(buyer, "month")
    await chats.client.rename(buyer.id, "Ann", username="Ann_New")
    renamed = await chats.client.person(buyer.id)
    await chats.say(renamed, "/status")
    await chats.say(renamed, "/paysupport")
    for named in ("@Ann_New", "@ANN_NEW"):
        assert (await chats.answer(admin, f"/history {named}")).text().startswith("Payments of @Ann_New")


async def test_a_name_that_was_given_up_is_cleared_as_its_owner_writes(chats: Chats) -> None:
    buyer = chats.people.buyer
    await chats.buy(buyer, "month")
    await chats.client.rename(buyer.id, "Ann")
    await chats.say(await chats.client.person(buyer.id), "/status")
    assert await _name(chats, buyer.id) is None


async def test_a_name_that_is_as_it_was_is_neither_asked_for_nor_written(chats: Chats) -> None:
    await chats.buy(chats.people.buyer, "month")
    await chats.say(chats.people.buyer, "/help")
    with statements(chats.database) as said:
        await chats.say(chats.people.buyer, "/help")
    assert said == []


async def test_name_of_an_unknown_or_erased_person_is_not_kept(chats: Chats) -> None:
    buyer, other = chats.people.buyer, chats.people.other
    await chats.buy(buyer, "month")
    async with chats.database.transaction() as session:
        user = (await session.scalars(select(User).where(User.telegram_id == buyer.id))).one()
        user.username, user.erased_at = None, chats.clock()
    for person in (buyer, other):
        await chats.say(person, "/help")
    assert await _name(chats, buyer.id) is None
    async with chats.database.reading() as session:
        assert await session.scalar(select(User).where(User.telegram_id == other.id)) is None


async def test_an_admin_hears_that_a_name_was_given_up_and_sees_no_page(chats: Chats) -> None:
    buyer, admin = chats.people.buyer, chats.people.admin
    await chats.buy(buyer, "month")
    await chats.client.rename(buyer.id, "Ann", username="Ann_New")
    told = await chats.answer(admin, "/history @Ann_B")
    assert told.text().startswith(f"@Ann_B is not the name of {buyer.id} any more")
    assert await _name(chats, buyer.id) == "Ann_New"
    assert (await chats.answer(admin, f"/history {buyer.id}")).text().startswith("Payments of @Ann_New")


async def test_an_admin_is_warned_of_a_name_that_has_changed_hands(chats: Chats) -> None:
    buyer, other, admin = chats.people.buyer, chats.people.other, chats.people.admin
    await chats.buy(buyer, "month")
    await record_charges(chats, other, 1, username="Ann_B")
    await chats.client.rename(buyer.id, "Ann")
    await chats.client.rename(other.id, "Bob", username="ann_b")
    warning, page = await chats.say(admin, "/history @Ann_B")
    assert warning.text() == f"Mind that @Ann_B has changed hands. Before, it was the name of {buyer.id}."
    assert page.text().startswith(f"Payments of @ann_b ({other.id})")


async def test_an_admin_is_warned_when_telegram_does_not_say_whose_name_it_is(chats: Chats) -> None:
    await chats.buy(chats.people.buyer, "month")
    refuse(chats.bot, GetChat, "chat not found")
    warning, page = await chats.say(chats.people.admin, "/history @Ann_B")
    assert warning.text().startswith("Telegram does not say whether @Ann_B is still this user's name")
    assert page.text().startswith("Payments of @Ann_B")
    # An id is sure without it.
    assert len(await chats.say(chats.people.admin, f"/history {chats.people.buyer.id}")) == 1


def _rename_bot(chats: Chats, name: str) -> None:
    async def renamed(make_request: Any, bot: Any, method: TelegramMethod[Any]) -> Response[Any]:
        answer: Response[Any] = await make_request(bot, method)
        if isinstance(method, GetMe):
            update: dict[str, Any] = {"username": name}
            return answer.model_copy(update=update)
        return answer

    chats.bot.session.middleware(renamed)


async def test_the_bots_new_name_is_learned(chats: Chats) -> None:
    await chats.bot.me()  # what aiogram keeps for ever
    _rename_bot(chats, "renamed_bot")
    await chats.client.move_clock(timedelta(days=1).total_seconds())
    assert await chats.say(chats.people.admin, "/pending@renamed_bot", group=chats.people.desk) != []


async def test_the_bots_new_name_is_learned_when_it_is_called_by_it_and_the_old_one_is_given_up(chats: Chats) -> None:
    admin, desk = chats.people.admin, chats.people.desk
    assert await chats.say(admin, "/pending@SANDBOX_bot", group=desk) != []
    _rename_bot(chats, "renamed_bot")
    await chats.client.move_clock(timedelta(minutes=1).total_seconds())
    assert await chats.say(admin, "/pending@Renamed_Bot", group=desk) != []
    assert await chats.say(admin, "/pending@sandbox_bot", group=desk) == []


async def test_the_bots_name_is_asked_for_once_however_often_others_are_called(chats: Chats) -> None:
    chats.stop_clock()
    for _ in range(3):
        for mention in ("sandbox_bot", "another_bot"):
            await chats.say(chats.people.admin, f"/pending@{mention}", group=chats.people.desk)
    assert len(await chats.client.calls("getMe")) == 1
