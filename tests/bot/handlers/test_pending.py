import pytest
from sqlalchemy import select

from db.tables import StripeEvent
from payments.audit.facts import ChargeFact, Person
from payments.notices import Admins
from payments.recording.quarantine import quarantine_update
from payments.recording.recorder import Recorder
from payments.sale.payload import Order
from payments.waiting import LISTED_MAX
from tests.support.chats import Chats


async def _park(chats: Chats, charge_id: str = "odd-1", amount: int = 7) -> None:
    """Take a charge whose amount is not the signed one."""
    buyer = chats.people.buyer
    payload = chats.signer.sign(Order("month", 30, False, 200, "XTR", buyer.id))
    fact = ChargeFact(charge_id, Person(buyer.id), amount, "XTR", payload, chats.clock())
    raw = {
        "update_id": 1,
        "message": {
            "date": int(fact.happened_at.timestamp()),
            "from": {"id": buyer.id},
            "successful_payment": {
                "currency": "XTR",
                "total_amount": amount,
                "telegram_payment_charge_id": charge_id,
                "invoice_payload": payload,
            },
        },
    }
    assert await Recorder(chats.database, chats.clock, Admins()).record([raw])
    await chats.settle()


@pytest.mark.criterion("E5")
async def test_parked_payment_is_listed_with_its_commands(chats: Chats) -> None:
    admin = chats.people.admin
    assert (await chats.answer(admin, "/pending")).text() == (
        "Nothing waits: every payment and refund has come to its end."
    )
    await _park(chats)
    listed = (await chats.answer(admin, "/pending")).text().splitlines()
    assert listed[0] == "What waits"
    assert listed[3:] == [
        f"Payment of 7 ⭐, {chats.people.buyer.id}: waits for the seller",
        "It was paid with another amount than the invoice said.",
        "/retry odd-1",
        "/refund odd-1",
    ]


async def test_retry_takes_up_again_what_is_listed(chats: Chats) -> None:
    admin = chats.people.admin
    await _park(chats)
    told = await chats.answer(admin, "/retry odd-1")
    assert told.text().startswith("odd-1 is taken up again.")
    await chats.settle()
    assert "/retry odd-1" in (await chats.answer(admin, "/pending")).text(), "its amount is still another one"


async def test_retry_of_a_settled_or_unknown_payment_changes_nothing(chats: Chats) -> None:
    admin = chats.people.admin
    charge_id = await chats.buy(chats.people.buyer, "month")
    assert (await chats.answer(admin, f"/retry {charge_id}")).text() == (
        f"{charge_id} does not wait: it has come to its end. Nothing was changed."
    )
    assert (await chats.answer(admin, "/retry nothing")).text().startswith("There is no payment and no refund nothing.")


async def test_a_refund_that_telegram_refuses_waits_for_an_admin(chats: Chats) -> None:
    admin = chats.people.admin
    await _park(chats)  # The sandbox knows nothing of this charge.
    await chats.answer(admin, "/refund odd-1")
    await chats.settle()
    listed = (await chats.answer(admin, "/pending")).text()
    assert "Refund of 7 ⭐" in listed
    assert "CHARGE_NOT_FOUND" in listed
    assert "/retry refund:odd-1" in listed


@pytest.mark.criterion("R7", "O4")
async def test_the_history_names_who_asked_before_a_parked_refund_was_asked_for_anew(chats: Chats) -> None:
    admin, buyer = chats.people.admin, chats.people.buyer
    await _park(chats)
    for reason in ("first <reason>", "second reason"):
        await chats.answer(admin, f"/refund odd-1 {reason}")
        await chats.settle()
    page = (await chats.answer(admin, f"/history {buyer.id}")).text()
    assert "second reason" in page
    assert f"Asked for before by telegram:{admin.id}: first <reason>" in page


@pytest.mark.criterion("R3", "O4")
async def test_a_charge_whose_id_cannot_be_typed_goes_back_by_the_command_that_is_shown(chats: Chats) -> None:
    admin, buyer = chats.people.admin, chats.people.buyer
    await _park(chats, "two words\nand a line <b>")
    listed = (await chats.answer(admin, "/pending")).text()
    page = (await chats.answer(admin, f"/history {buyer.id}")).text()
    [command] = [line for line in listed.splitlines() if line.startswith("/refund")]
    assert command.removeprefix("/refund ") in page
    asked = (await chats.answer(admin, f"{command} sorry")).text()
    assert asked.startswith("The refund of 7 ⭐")


async def test_a_quarantined_update_is_recorded_when_it_can_be(chats: Chats) -> None:
    admin, buyer = chats.people.admin, chats.people.buyer
    payload = chats.signer.sign(Order("month", 30, False, 200, "XTR", buyer.id))
    payment = {"currency": "XTR", "total_amount": 200, "telegram_payment_charge_id": "late", "invoice_payload": payload}
    message = {"date": int(chats.clock().timestamp()), "from": {"id": buyer.id}, "successful_payment": payment}
    async with chats.database.transaction() as session:
        await quarantine_update(session, {"update_id": 5, "message": message}, "a bug", Admins(), chats.clock())
        await quarantine_update(
            session, {"update_id": 6, "message": {"successful_payment": {}}}, "empty", Admins(), chats.clock()
        )
    commands = [line for line in (await chats.answer(admin, "/pending")).text().splitlines() if "/retry" in line]
    answers = [(await chats.answer(admin, command)).text() for command in commands]
    assert sorted("taken up again" in answer for answer in answers) == [False, True]
    assert sorted("still cannot be recorded" in answer for answer in answers) == [False, True]
    await chats.settle()
    assert any("Thank you!" in each.text() for each in await chats.said(buyer.id))
    assert "/retry" in (await chats.answer(admin, "/pending")).text(), "the unreadable one stays"


async def test_a_long_list_is_cut_and_says_how_much_more_there_is(chats: Chats) -> None:
    for number in range(LISTED_MAX + 2):
        await _park(chats, "x" * 240 + str(number), amount=number + 1)
    async with chats.database.transaction() as session:
        for event in await session.scalars(select(StripeEvent)):
            event.error = "<Error> & " * 50
        await quarantine_update(session, {"update_id": 5, "message": {}}, "e" * 500, Admins(), chats.clock())
    listed = (await chats.answer(chats.people.admin, "/pending")).text()
    assert "/retry quarantine:" in listed, "what is in quarantine does not hide behind events"
    shown = listed.count("/retry")
    assert shown > 2
    assert listed.endswith(f"… and {LISTED_MAX + 3 - shown} more.")


@pytest.mark.criterion("S12")
@pytest.mark.parametrize("command", ["/pending", "/retry odd-1"])
async def test_pending_and_retry_look_unknown_to_buyers(chats: Chats, command: str) -> None:
    buyer = chats.people.buyer
    assert (await chats.answer(buyer, command)).text() == (await chats.answer(buyer, "/nonsense")).text()


@pytest.mark.parametrize("args", ["", "x" * 1025])
async def test_retry_without_an_id_says_how_it_is_sent(chats: Chats, args: str) -> None:
    assert (await chats.answer(chats.people.admin, f"/retry {args}")).text().startswith("Send /retry with an id")
