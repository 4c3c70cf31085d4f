import re
from datetime import timedelta

import pytest

from payments.audit import fact_rows
from payments.audit.facts import ChargeFact, Person
from payments.audit.history import PAGE_SIZE
from sandbox.messages import ChatMessage
from sandbox.people import Person as Account
from tests.support.chats import Chats
from tests.support.money import order

STALE = "This button is out of date. Send the command again."


async def _foreign_charges(chats: Chats, buyer: Account, count: int) -> None:
    at = chats.clock()
    facts = [
        ChargeFact(f"c{n:02}", Person(buyer.id, buyer.username), n, "XTR", "another's", at - timedelta(hours=n))
        for n in range(1, count + 1)
    ]
    async with chats.database.transaction() as session:
        await fact_rows.record(session, facts, at)
    await chats.settle()


def _charge_ids(message: ChatMessage) -> list[str]:
    return re.findall(r"^c\d\d$", message.text(), re.MULTILINE)


async def _reread(chats: Chats, message: ChatMessage) -> ChatMessage:
    return next(each for each in await chats.said(message.chat_id) if each.message_id == message.message_id)


async def test_status_of_somebody_without_anything(chats: Chats) -> None:
    told = await chats.answer(chats.people.buyer, "/status")
    assert told.text() == "You have nothing here now. Send /buy to see what is on sale."


@pytest.mark.criterion("I2")
@pytest.mark.criterion("I3")
async def test_status_tells_what_is_open_and_until_when(chats: Chats) -> None:
    buyer = chats.people.buyer
    paid_at = chats.clock()
    await chats.buy(buyer, "bundle")
    await chats.buy(buyer, "life")
    until = paid_at + timedelta(days=30)
    archive, premium = (await chats.answer(buyer, "/status")).text().splitlines()[1:]
    assert archive.startswith(f"🔓 archive until {until:%-d %B %Y}, ")
    assert archive.endswith(" UTC (30 days left)")
    assert premium == "🔓 premium for ever"
    await chats.client.move_clock(timedelta(days=31).total_seconds())
    assert (await chats.answer(buyer, "/status")).text().splitlines()[1:] == ["🔓 premium for ever"]


@pytest.mark.criterion("I3")
async def test_status_knows_of_a_payment_that_came_with_it(chats: Chats) -> None:
    buyer = chats.people.buyer
    person = Person(buyer.id, buyer.username)
    payload = chats.signer.sign(order("month", person))
    async with chats.database.transaction() as session:
        await fact_rows.record(session, [ChargeFact("c1", person, 200, "XTR", payload, chats.clock())], chats.clock())
    assert "premium until" in (await chats.answer(buyer, "/status")).text()
    await chats.settle()
    assert "Thank you!" in (await chats.said(buyer.id))[-1].text()


async def test_a_history_without_payments_says_so_and_has_no_buttons(chats: Chats) -> None:
    told = await chats.answer(chats.people.buyer, "/history")
    assert told.text() == "You have paid nothing here yet. Send /buy to see what is on sale."
    assert told.buttons() == []


@pytest.mark.criterion("O8")
@pytest.mark.criterion("R2")
async def test_a_history_reads_like_a_statement(chats: Chats) -> None:
    buyer = chats.people.buyer
    charge_id = await chats.buy(buyer, "month")
    await chats.say(chats.people.admin, f"/refund {charge_id} bought <twice> & sorry")
    await chats.settle()
    title, refund, charge = (await chats.answer(buyer, "/history")).text().split("\n\n")
    assert title == "Your payments"
    assert refund.splitlines()[1:] == ["Refund of 200 ⭐: done", charge_id, "Reason: bought <twice> & sorry"]
    assert charge.splitlines()[1:] == ["Premium, 30 days, 200 ⭐: given back", charge_id]


async def test_history_of_an_automatic_refund_shows_no_internal_reason(chats: Chats) -> None:
    buyer = chats.people.buyer
    invoices = [await chats.answer(buyer, "/buy life") for _ in range(2)]
    for invoice in invoices:
        await chats.client.start_payment(buyer.id, message_id=invoice.message_id, chat_id=invoice.chat_id)
    await chats.settle()
    _, *entries = (await chats.answer(buyer, "/history")).text().split("\n\n")
    assert sorted(entry.splitlines()[1] for entry in entries) == [
        "Premium for life, 1,000 ⭐: done",
        "Premium for life, 1,000 ⭐: given back",
        "Refund of 1,000 ⭐: done",
    ]
    assert all(len(entry.splitlines()) == 3 for entry in entries), "no reason stands below"


async def test_a_long_history_is_turned_page_by_page_in_its_own_message(chats: Chats) -> None:
    buyer = chats.people.buyer
    await _foreign_charges(chats, buyer, 2 * PAGE_SIZE + 1)
    first = await chats.answer(buyer, "/history")
    assert first.text().endswith("Page 1 of 3")
    assert [button["text"] for button in first.buttons()] == ["Older ▶"]
    assert (await chats.press(buyer, first, text="Older ▶")).text == ""
    second = await _reread(chats, first)
    assert [button["text"] for button in second.buttons()] == ["◀ Newer", "Older ▶"]
    await chats.press(buyer, first, text="Older ▶")
    third = await _reread(chats, first)
    assert [button["text"] for button in third.buttons()] == ["◀ Newer"]
    shown = [charge_id for page in (first, second, third) for charge_id in _charge_ids(page)]
    assert shown == [f"c{n:02}" for n in range(1, 2 * PAGE_SIZE + 2)]
    assert len(await chats.said(buyer.id, after=first.message_id)) == 0


async def test_a_page_that_is_shown_already_stays(chats: Chats) -> None:
    buyer = chats.people.buyer
    await _foreign_charges(chats, buyer, PAGE_SIZE + 1)
    first = await chats.answer(buyer, "/history")
    press = await chats.press_altered(buyer, first, f"history:{buyer.id}:1:0")
    assert (press.answered, press.text) == (True, "")
    assert await chats.said(buyer.id, after=first.message_id) == []


async def test_a_page_whose_message_is_gone_comes_as_a_new_one(chats: Chats) -> None:
    buyer = chats.people.buyer
    await _foreign_charges(chats, buyer, PAGE_SIZE + 1)
    first = await chats.answer(buyer, "/history")
    await chats.push(
        {
            "callback_query": {
                "id": "1",
                "from": buyer.user(),
                "message": {"chat": buyer.chat(), "message_id": 999, "date": 0},
                "chat_instance": "1",
                "data": f"history:{buyer.id}:2:0",
            }
        }
    )
    [second] = await chats.said(buyer.id, after=first.message_id)
    assert second.text().endswith("Page 2 of 2")


@pytest.mark.criterion("S12")
async def test_an_altered_page_button_shows_nothing(chats: Chats) -> None:
    buyer, other = chats.people.buyer, chats.people.other
    await _foreign_charges(chats, buyer, PAGE_SIZE + 1)
    await chats.buy(other, "month")
    first = await chats.answer(buyer, "/history")
    for data in (
        "history:{other}:1:0",
        "history:{buyer}:1:1",
        "history:{other}:1:1",
        "history:{buyer}:3:0",
        "history:{buyer}:0:0",
        "history:{buyer}:-1:0",
        "history:{buyer}:99999999999999999999:0",
        "history:99999999999999999999:1:0",
        "history:{buyer}:one:0",
        "history:{buyer}:1:0:0",
        "history:\0:1:0",
    ):
        press = await chats.press_altered(buyer, first, data.format(buyer=buyer.id, other=other.id))
        assert (press.text, press.show_alert) == (STALE, True)
        assert (await _reread(chats, first)).earlier == []
        assert await chats.said(buyer.id, after=first.message_id) == []
