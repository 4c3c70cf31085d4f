"""The admins' group becomes a supergroup, with a new id, while the seller does not notice."""

from typing import Final

from sqlalchemy import select

from bot.chat.commands import register_admin_chat
from bot.chat.moved_chats import AdminChat, note_moved
from db.tables import MovedChat
from payments.audit import fact_rows
from payments.audit.facts import ChargeFact, Person
from sandbox.faults import FaultKind
from sandbox.people import Group
from tests.support.chats import Chats

IN_GROUP: Final = ["history", "refund", "pending", "retry", "report", "help"]


async def _new_group(chats: Chats) -> Group:
    desk = chats.people.desk
    return await chats.client.add_group("Desk", member_ids=desk.member_ids, admin_ids=desk.admin_ids)


async def _alert(chats: Chats, charge_id: str) -> None:
    """Let something happen that the admins are told of."""
    at = chats.clock()
    fact = ChargeFact(charge_id, Person(chats.people.buyer.id), 5, "XTR", "another's", at)
    async with chats.database.transaction() as session:
        await fact_rows.record(session, [fact], at)
    await chats.settle()


async def _moved(chats: Chats) -> dict[int, int]:
    async with chats.database.reading() as session:
        return {row.chat_id: row.moved_to for row in await session.scalars(select(MovedChat))}


async def test_after_a_refused_alert_alerts_and_commands_are_at_home_in_the_new_group(chats: Chats) -> None:
    new = await _new_group(chats)
    await chats.client.add_fault(FaultKind.MIGRATED, "sendMessage", migrate_to_chat_id=new.id)
    await _alert(chats, "c1")
    alert, moved = await chats.said(new.id)
    assert "c1" in alert.text()
    assert f"ADMIN_CHAT_ID={new.id}" in moved.text()
    assert await chats.say(chats.people.admin, "/pending", group=new) != []
    # The old id is not tried again, though the fault is over.
    await _alert(chats, "c2")
    assert "c2" in (await chats.said(new.id))[-1].text()
    assert await chats.said(chats.people.desk.id) == []


async def test_telegrams_own_word_of_it_is_enough_in_either_chat(chats: Chats) -> None:
    desk, admin = chats.people.desk, chats.people.admin
    for word in ("migrate_to_chat_id", "migrate_from_chat_id"):
        new = await _new_group(chats)
        chat, other = (desk.chat(), new.id) if word == "migrate_to_chat_id" else (new.chat(), desk.id)
        message = {"message_id": 1, "date": 1, "chat": chat, "from": admin.user(), word: other}
        await chats.push({"message": message})
        await chats.settle()
        [told] = await chats.said(new.id)
        assert f"ADMIN_CHAT_ID={new.id}" in told.text()
        assert [command["command"] for command in await chats.client.commands(admin.id, new.id)] == IN_GROUP
        assert await chats.say(admin, "/pending", group=new) != []
        await _alert(chats, word)
        assert word in (await chats.said(new.id))[-1].text()


async def test_pages_of_a_history_are_turned_in_the_new_group(chats: Chats) -> None:
    new, admin = await _new_group(chats), chats.people.admin
    async with chats.database.transaction() as session:
        await note_moved(session, chats.people.desk.id, new.id, chats.clock)
    for n in range(6):
        await _alert(chats, f"c{n}")
    shown = await chats.answer(admin, f"/history {chats.people.buyer.id}", group=new)
    assert (await chats.press(admin, shown, text="Older ▶")).text == ""


async def test_a_group_of_others_that_moves_is_no_matter(chats: Chats) -> None:
    new, elsewhere = await _new_group(chats), chats.people.elsewhere
    message = {"message_id": 1, "date": 1, "from": chats.people.admin.user()}
    await chats.push({"message": message | {"chat": elsewhere.chat(), "migrate_to_chat_id": new.id}})
    await chats.push({"message": message | {"chat": new.chat(), "migrate_from_chat_id": elsewhere.id}})
    assert await _moved(chats) == {}
    assert await chats.say(chats.people.admin, "/pending", group=new) == []


async def test_a_group_that_moves_again_is_followed_and_no_circle_is_kept(chats: Chats) -> None:
    async with chats.database.transaction() as session:
        for old, new in ((-1, -2), (-2, -3), (-3, -1), (-4, -4)):
            await note_moved(session, old, new, chats.clock)
    assert await _moved(chats) == {-2: -1, -3: -1}


async def test_a_desk_that_was_down_meanwhile_asks_telegram_at_its_start(chats: Chats, log: list[str]) -> None:
    new = await _new_group(chats)
    await chats.client.add_fault(FaultKind.MIGRATED, "sendChatAction", migrate_to_chat_id=new.id)
    admin_chat = AdminChat(chats.database, chats.clock, -4_000_000_001, on_owed=lambda: None)
    await admin_chat.look(chats.bot)
    assert await admin_chat.current_id() == new.id
    log.clear()
    # The next start knows it, and says it again.
    await AdminChat(chats.database, chats.clock, -4_000_000_001, on_owed=lambda: None).look(chats.bot)
    assert log == [f"ERROR: the group is now {new.id}: put that into ADMIN_CHAT_ID\n"]


async def test_the_menu_goes_to_the_group_that_it_became(chats: Chats) -> None:
    new = await _new_group(chats)
    await chats.client.add_fault(FaultKind.MIGRATED, "setMyCommands", migrate_to_chat_id=new.id)
    await register_admin_chat(chats.bot, chats.people.desk.id)
    commands = await chats.client.commands(chats.people.admin.id, new.id)
    assert [command["command"] for command in commands] == IN_GROUP
