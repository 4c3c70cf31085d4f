import pytest
from aiogram.types import LabeledPrice
from loguru import logger
from sqlalchemy import select

from bot.calls.retry_calls import ANSWER
from db.states import STARS_CURRENCY, EventStatus
from db.tables import StripeEvent
from payments.audit import fact_rows
from payments.audit.facts import ChargeFact, Person
from payments.audit.history import PAGE_SIZE
from sandbox.faults import FaultKind
from sandbox.people import Person as Account
from tests.support.chats import Chats
from tests.support.waiting import skip_sleeps

UNKNOWN_COMMAND = "That is no command of this bot. Send /help to see what you can do here."
REFUND_USAGE = "Send /refund with the charge id"
HISTORY_USAGE = "Send /history with a Telegram id or a @username: /history 123456789"


async def _record(chats: Chats, buyer: Account, charge_id: str = "foreign-1", username: str | None = None) -> None:
    fact = ChargeFact(charge_id, Person(buyer.id, username), 70, "XTR", "another program's", chats.clock())
    async with chats.database.transaction() as session:
        await fact_rows.record(session, [fact], chats.clock())


async def _refunds(chats: Chats) -> list[StripeEvent]:
    async with chats.database.reading() as session:
        return list(await session.scalars(select(StripeEvent).where(StripeEvent.refund_of.is_not(None))))


@pytest.mark.criterion("R4")
@pytest.mark.criterion("R6")
@pytest.mark.criterion("R7")
@pytest.mark.criterion("I4")
@pytest.mark.parametrize("in_group", [False, True], ids=["in private", "in the admins' group"])
async def test_refund_is_confirmed_to_admin_and_buyer_and_ends_the_access(chats: Chats, *, in_group: bool) -> None:
    buyer, admin = chats.people.buyer, chats.people.admin
    charge_id = await chats.buy(buyer, "month")
    group = chats.people.desk if in_group else None
    asked = await chats.answer(admin, f"/refund {charge_id}  wrong\nplan <b>", group=group)
    assert asked.text() == (
        f"The refund of 200 ⭐ to @Ann_B ({buyer.id}) is on its way. You are told here when it is done."
    )
    assert [refund.status for refund in await _refunds(chats)] == [EventStatus.PENDING], "Telegram may be slow"
    await chats.settle()
    [done] = [each.text() for each in await chats.said(asked.chat_id, after=asked.message_id)]
    assert done.startswith(f"↩️ 200 ⭐ went back to {buyer.id}.")
    told = (await chats.said(buyer.id))[-1].text()
    assert "Your payment of 200 ⭐ was given back" in told
    assert "Reason: wrong plan <b>" in told
    [refund] = await _refunds(chats)
    assert (refund.reason, refund.requested_by) == ("wrong plan <b>", f"telegram:{admin.id}")
    assert (await chats.answer(buyer, "/status")).text().startswith("You have nothing here")
    assert (await chats.client.person(buyer.id)).balance_stars == buyer.balance_stars


@pytest.mark.criterion("R8")
async def test_a_second_refund_changes_nothing_and_says_so(chats: Chats) -> None:
    admin = chats.people.admin
    charge_id = await chats.buy(chats.people.buyer, "month")
    await chats.answer(admin, f"/refund {charge_id}")
    under_way = await chats.answer(admin, f"/refund {charge_id}")
    await chats.settle()
    again = await chats.answer(admin, f"/refund {charge_id}")
    assert under_way.text() == f"The refund of {charge_id} was asked for before, and is under way. Nothing was changed."
    assert again.text() == f"The charge {charge_id} was given back before. Nothing was changed."
    assert len(await _refunds(chats)) == 1


@pytest.mark.criterion("R7", "R8")
async def test_an_admin_who_asks_for_another_reason_is_told_whose_request_stands(chats: Chats) -> None:
    admin = chats.people.admin
    charge_id = await chats.buy(chats.people.buyer, "month")
    await chats.answer(admin, f"/refund {charge_id} wrong <plan>")
    under_way = await chats.answer(admin, f"/refund {charge_id} another")
    assert under_way.text().splitlines()[1:] == [
        f"It was asked for by telegram:{admin.id}: wrong <plan>. That stands, and yours is not on record."
    ]


async def test_a_refund_is_begun_though_telegram_does_not_take_the_word_about_it(
    chats: Chats, monkeypatch: pytest.MonkeyPatch
) -> None:
    charge_id = await chats.buy(chats.people.buyer, "month")
    chats.worker.loop._wakened.clear()
    skip_sleeps(monkeypatch)
    await chats.client.add_fault(FaultKind.CUT_BEFORE, "sendMessage", count=ANSWER.attempts + 1)
    assert await chats.say(chats.people.admin, f"/refund {charge_id}") == []
    assert chats.worker.loop._wakened.is_set(), "it does not wait for the worker's next round"
    await chats.settle()
    assert [refund.status for refund in await _refunds(chats)] == [EventStatus.PROCESSED]


async def test_the_refund_of_an_unknown_charge_names_it_escaped(chats: Chats) -> None:
    told = await chats.answer(chats.people.admin, "/refund <b>x</b>&amp; no such")
    assert told.text().startswith("There is no charge <b>x</b>&amp;. Nothing was refunded.")
    assert [entity["type"] for entity in told.message["entities"][:1]] == ["code"]


async def test_a_charge_of_another_program_is_refunded_with_a_word_about_it(chats: Chats) -> None:
    buyer = chats.people.buyer
    charge_id = await _buy_from_another_program(chats, buyer)
    told = await chats.answer(chats.people.admin, f"/refund {charge_id}")
    assert told.text().splitlines()[1] == (
        "Mind that it was not sold by this shop: another program uses the token of this bot."
    )
    await chats.settle()
    assert (await chats.client.person(buyer.id)).balance_stars == buyer.balance_stars


async def _buy_from_another_program(chats: Chats, buyer: Account) -> str:
    price = [LabeledPrice(label="Hat", amount=70)]
    sent = await chats.bot.send_invoice(buyer.id, "Hat", "A hat", "hat-1", STARS_CURRENCY, price, provider_token="")
    payment = await chats.client.start_payment(buyer.id, message_id=sent.message_id, chat_id=buyer.id)
    assert payment.query_id is not None
    await chats.bot.answer_pre_checkout_query(payment.query_id, ok=True)
    await chats.settle()
    charge_id = (await chats.client.payment(payment.id)).charge_id
    assert charge_id is not None
    return charge_id


@pytest.mark.criterion("I5")
async def test_a_charge_of_another_service_is_left_to_it(chats: Chats) -> None:
    await chats.buy(chats.people.buyer, "month")
    async with chats.database.transaction() as session:
        ours = (await session.scalars(select(StripeEvent))).one()
        session.add(
            StripeEvent(
                event_id="ch_1",
                event_type="stripe.successful_payment",
                payment_method="stripe",
                customer_id=ours.customer_id,
                amount_cents=499,
                currency="USD",
                status=EventStatus.PROCESSED,
            )
        )
    told = await chats.answer(chats.people.admin, "/refund ch_1")
    assert told.text() == (
        "The charge ch_1 belongs to another service, and is refunded there. Nothing was changed here."
    )
    assert await _refunds(chats) == []


async def test_refund_with_absurd_arguments_tells_how_it_is_used(chats: Chats) -> None:
    for text in ("/refund", "/refund   ", f"/refund {'x' * 1025}", "/refund a\0b"):
        told = await chats.answer(chats.people.admin, text)
        assert told.text().startswith(REFUND_USAGE)


async def test_a_reason_that_is_too_long_refunds_nothing(chats: Chats) -> None:
    charge_id = await chats.buy(chats.people.buyer, "month")
    told = await chats.answer(chats.people.admin, f"/refund {charge_id} {'x' * 201}")
    assert "within 200 characters" in told.text()
    assert await _refunds(chats) == []
    await chats.answer(chats.people.admin, f"/refund {charge_id} {'x' * 200}")
    assert len(await _refunds(chats)) == 1


@pytest.mark.criterion("S12")
async def test_an_admins_command_does_not_exist_for_anybody_else(chats: Chats) -> None:
    charge_id = await chats.buy(chats.people.buyer, "month")
    for command in ("/refund {charge}", "/refund", "/pending", "/retry x", "/report", "/REFUND {charge}"):
        told = await chats.answer(chats.people.buyer, command.format(charge=charge_id))
        assert told.text() == UNKNOWN_COMMAND
        await chats.answer(chats.people.buyer, "/no_such_command")
        [to_this, to_nonsense] = (await chats.client.calls("sendMessage"))[-2:]
        assert to_this.args == to_nonsense.args, "not a byte tells that the command is there"
        assert await chats.say(chats.people.buyer, command.format(charge=charge_id), group=chats.people.desk) == []
        assert await _refunds(chats) == []


@pytest.mark.criterion("S12")
async def test_anybody_else_sees_their_own_history_whomever_they_name(chats: Chats) -> None:
    await chats.buy(chats.people.buyer, "month")
    told = await chats.answer(chats.people.other, f"/history {chats.people.buyer.id}")
    assert told.text() == "You have paid nothing here yet. Send /buy to see what is on sale."


async def test_the_bot_is_silent_in_other_groups(chats: Chats) -> None:
    for command in ("/refund", "/history 1", "/help", "/buy", "/start", "hello"):
        for person in (chats.people.admin, chats.people.buyer):
            assert await chats.say(person, command, group=chats.people.elsewhere) == []
        assert await chats.say(chats.people.admin, command, group=chats.people.elsewhere, anonymous=True) == []


async def test_the_bot_is_silent_in_the_admins_group_about_all_but_their_commands(chats: Chats) -> None:
    for text in ("/buy", "/status", "/start", "/nonsense", "hello", "/refund@another_bot x"):
        assert await chats.say(chats.people.admin, text, group=chats.people.desk) == []


async def test_help_in_the_admins_group_lists_their_commands(chats: Chats) -> None:
    told = await chats.answer(chats.people.admin, "/help", group=chats.people.desk)
    assert told.text().startswith("For admins\n/history ID or @username")


@pytest.mark.criterion("S12")
async def test_an_anonymous_admin_is_told_how_to_be_known(chats: Chats) -> None:
    charge_id = await chats.buy(chats.people.buyer, "month")
    for command in ("/refund {charge}", "/history 1", "/help"):
        [told] = await chats.say(
            chats.people.admin, command.format(charge=charge_id), group=chats.people.desk, anonymous=True
        )
        assert told.text().startswith("You write as the group, so it cannot be seen who you are.")
        assert await _refunds(chats) == []


@pytest.mark.criterion("S12")
async def test_a_forwarded_order_is_not_given(chats: Chats) -> None:
    admin = chats.people.admin
    charge_id = await chats.buy(chats.people.buyer, "month")
    origin = {"type": "hidden_user", "date": 1, "sender_user_name": "Ann"}
    [told] = await chats.send(admin, text=f"/refund {charge_id}", forward_origin=origin)
    assert told.text() == UNKNOWN_COMMAND
    assert await _refunds(chats) == []


@pytest.mark.criterion("O8")
@pytest.mark.parametrize("in_group", [False, True], ids=["in private", "in the admins' group"])
async def test_an_admin_reads_anybodys_history_by_id_or_name(chats: Chats, *, in_group: bool) -> None:
    buyer, admin = chats.people.buyer, chats.people.admin
    charge_id = await chats.buy(buyer, "month")
    await chats.answer(admin, f"/refund {charge_id}")
    await chats.settle()
    group = chats.people.desk if in_group else None
    for named in (str(buyer.id), "@ann_b", "@ANN_B"):
        title, refund, charge = (await chats.answer(admin, f"/history {named}", group=group)).text().split("\n\n")
        assert title == f"Payments of @Ann_B ({buyer.id})"
        assert refund.splitlines()[1:] == ["Refund of 200 ⭐: done", charge_id, f"Asked for by telegram:{admin.id}"]
        assert charge.splitlines()[1:] == ["Premium, 30 days, 200 ⭐: given back", charge_id]


@pytest.mark.criterion("S12")
async def test_the_pages_in_the_admins_group_are_turned_by_admins_only(chats: Chats) -> None:
    buyer, admin = chats.people.buyer, chats.people.admin
    for n in range(PAGE_SIZE + 1):
        await _record(chats, buyer, f"c{n}")
    shown = await chats.answer(admin, f"/history {buyer.id}", group=chats.people.desk)
    press = await chats.press(buyer, shown, text="Older ▶")
    assert (press.text, press.show_alert) == ("This button is out of date. Send the command again.", True)
    assert (await chats.press(admin, shown, text="Older ▶")).text == ""
    [turned] = await chats.said(shown.chat_id)
    assert turned.text().endswith("Page 2 of 2")


async def test_history_with_absurd_arguments_tells_how_it_is_used(chats: Chats) -> None:
    for args in (
        "@",
        "ann",
        "0",
        "-5",
        "1 2",
        "@ann <b>",
        "99999999999999999",
        "9999999999999999",
        "١٢",
        "@ann\0",
        "x" * 4000,
    ):
        told = await chats.answer(chats.people.admin, f"/history {args}")
        assert told.text() == HISTORY_USAGE


async def test_history_of_nobody_in_the_admins_group_tells_how_it_is_used(chats: Chats) -> None:
    told = await chats.answer(chats.people.admin, "/history", group=chats.people.desk)
    assert told.text() == HISTORY_USAGE


async def test_history_of_somebody_who_never_paid(chats: Chats) -> None:
    told = await chats.answer(chats.people.admin, "/history @nobody")
    assert told.text().startswith("Nobody is known here as @nobody.")


async def test_a_name_that_two_accounts_had_asks_for_the_id(chats: Chats) -> None:
    for n, person in enumerate((chats.people.buyer, chats.people.other)):
        await _record(chats, person, f"c{n}", username="same_name")
    told = await chats.answer(chats.people.admin, "/history @Same_Name")
    ids = f"{chats.people.buyer.id}, {chats.people.other.id}"
    assert told.text() == f"More than one user was @Same_Name. Send /history with the id of the one you mean: {ids}"


async def test_admins_commands_are_in_the_log_with_who_gave_them(chats: Chats) -> None:
    admin, buyer = chats.people.admin, chats.people.buyer
    charge_id = await chats.buy(buyer, "month")
    lines: list[str] = []
    sink = logger.add(
        lines.append, format="{message} {extra[admin_id]} {extra}", filter=lambda each: "admin_id" in each["extra"]
    )
    for text in (f"/history {buyer.id}", f"/refund {charge_id}", f"/refund {charge_id}"):
        await chats.answer(admin, text)
    logger.remove(sink)
    said = [line.partition(" {")[0] for line in lines]
    assert said == [
        f"/history of {buyer.id} {admin.id}",
        f"/refund: asked for {admin.id}",
        f"/refund: refused: under_way {admin.id}",
    ]
    assert all(charge_id in line for line in lines[1:])
