import pytest

from db.tables import LedgerEntry
from payments.audit import fact_rows
from payments.audit.facts import ChargeFact, Person
from payments.ledger.nanostars import NANOSTARS
from payments.methods import CARDS
from payments.sale.payload import Order
from sandbox.messages import ChatMessage
from tests.support.chats import Chats

PNG = b"\x89PNG"


async def _picture(chats: Chats, message: ChatMessage) -> bytes:
    file = await chats.bot.get_file(message.message["photo"][-1]["file_id"])
    assert file.file_path is not None
    content = await chats.bot.download_file(file.file_path)
    assert content is not None
    return content.read()


@pytest.mark.criterion("N1")
async def test_a_report_is_of_this_month_and_the_last(chats: Chats) -> None:
    admin, buyer = chats.people.admin, chats.people.buyer
    await chats.buy(buyer, "month")
    gone = await chats.buy(chats.people.other, "month")
    await chats.answer(admin, f"/refund {gone}")
    await chats.settle()
    today = chats.clock().date()
    for group in (None, chats.people.desk):
        this, before = (await chats.answer(admin, "/report", group=group)).text().split("\n\n")
        assert this.splitlines() == [
            f"{today.replace(day=1)} to {today} (UTC)",
            "Net 200 ⭐: revenue 400 ⭐, of which renewals 0 ⭐; given back 200 ⭐",
            "Purchases 2, new subscriptions 0, renewals 0, refunds 1, paying users 2",
        ]
        assert before.splitlines()[1:] == ["Nothing was paid or given back."]


@pytest.mark.criterion("N1")
@pytest.mark.criterion("N4")
async def test_a_picture_comes_with_its_sums_in_each_currency(chats: Chats) -> None:
    buyer = chats.people.buyer
    await chats.buy(buyer, "month")
    for number, currency in enumerate(("AED", "EUR", "JPY", "USD", "USD")):
        payload = chats.signer.sign(Order("month", 30, False, 499, currency, buyer.id))
        fact = ChargeFact(CARDS.event_id(f"ch_{number}"), Person(buyer.id), 499, currency, payload, chats.clock())
        async with chats.database.transaction() as session:
            await fact_rows.record(session, [fact], chats.clock())
    for command in ("/report week 3", "/REPORT Day", "/report month"):
        sent = await chats.answer(chats.people.admin, command)
        assert (await _picture(chats, sent)).startswith(PNG)
        lines = sent.text().splitlines()
        assert [line.split(":")[0] for line in lines[1:-1:2]] == [
            "Net 200 ⭐",
            "Net 9.98 USD",
            "Net 4.99 AED",
            "Net 4.99 EUR",
        ]
        assert lines[-1] == "… and 1 more currency."


@pytest.mark.parametrize("args", ["year", "week 0", "week 91", "week 1 2", "12", "day -1", "day ²"])
async def test_wrong_arguments_of_report_get_its_usage(chats: Chats, args: str) -> None:
    said = (await chats.answer(chats.people.admin, f"/report {args}")).text()
    assert said.startswith("Send /report for this month and the last")
    assert "at most 90" in said


@pytest.mark.criterion("S12")
async def test_a_report_is_for_admins(chats: Chats) -> None:
    buyer = chats.people.buyer
    for command in ("/report", "/report week"):
        assert (await chats.answer(buyer, command)).text() == (await chats.answer(buyer, "/nonsense")).text()
        assert await chats.say(buyer, command, group=chats.people.desk) == []
        assert await chats.say(chats.people.admin, command, group=chats.people.elsewhere) == []


@pytest.mark.criterion("N11")
async def test_a_report_is_net_of_commissions_and_costs(chats: Chats) -> None:
    charge_id = await chats.buy(chats.people.buyer, "month")
    now = chats.clock()
    facts = {"amount_nanostars": 20 * NANOSTARS, "happened_at": now, "recorded_at": now}
    async with chats.database.transaction() as session:
        session.add(
            LedgerEntry(
                **facts,
                id=charge_id,
                direction="in",
                kind="invoice_payment",
                charge_id=charge_id,
                commission_nanostars=NANOSTARS // 2,
            )
        )
        session.add(LedgerEntry(**facts, id="ads", direction="out", kind="telegram_ads"))
        session.add(LedgerEntry(**facts, id="paid-out", direction="out", kind="fragment"))
    this, _ = (await chats.answer(chats.people.admin, "/report")).text().split("\n\n")
    lines = this.splitlines()
    assert lines[1].startswith("Net 179.5 ⭐: revenue 200 ⭐")
    assert lines[3].startswith("The net is after 0.5 ⭐ of commission to affiliates and 20 ⭐ of other costs")
    sent = await chats.answer(chats.people.admin, "/report month")
    assert (await _picture(chats, sent)).startswith(PNG)
