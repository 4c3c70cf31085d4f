from collections.abc import Iterator
from typing import Any

import pytest
from aiogram.methods import SendInvoice, TelegramMethod
from sqlalchemy import text

from bot.calls.retry_calls import ANSWER
from sandbox.checkout import PaymentState
from sandbox.faults import FaultKind
from sandbox.people import Reach
from tests.support.bots import talking_bot
from tests.support.chats import Chats
from tests.support.logs import log_lines
from tests.support.money import TOKEN
from tests.support.proxies import proxy_that_answers
from tests.support.refusals import break_calls
from tests.support.waiting import skip_sleeps

SORRY = "That did not work, and the fault is ours. Please try again in a minute."


@pytest.fixture
def log() -> Iterator[list[str]]:
    with log_lines("{level}: {message} {extra}") as lines:
        yield lines


def _at(level: str, log: list[str]) -> list[str]:
    return [line for line in log if line.startswith(level)]


async def _rename(chats: Chats, table: str, name: str) -> None:
    async with chats.database.transaction() as session:
        await session.execute(text(f"ALTER TABLE {table} RENAME TO {name}"))


def _broken(method: TelegramMethod[Any]) -> Exception | None:
    return RuntimeError("the secret printer is out of paper") if isinstance(method, SendInvoice) else None


@pytest.mark.criterion("S6")
@pytest.mark.criterion("O6")
async def test_a_bug_is_logged_with_its_context_and_told_in_one_sentence(chats: Chats, log: list[str]) -> None:
    buyer = chats.people.buyer
    await chats.buy(buyer, "month")
    chats.is_clock_broken = True
    told = await chats.answer(buyer, "/status")
    assert told.text() == SORRY
    [line] = _at("ERROR", log)
    assert "an update could not be handled" in line
    assert f"'telegram_id': {buyer.id}" in line
    assert "the clock of the secret system stands still" in line
    chats.is_clock_broken = False
    assert (await chats.answer(buyer, "/status")).text().startswith("What you have")


@pytest.mark.criterion("S6")
async def test_a_bug_behind_a_button_answers_the_button_and_says_sorry(chats: Chats, log: list[str]) -> None:
    shown = await chats.answer(chats.people.buyer, "/buy")
    break_calls(chats.bot, _broken)
    press = await chats.press(chats.people.buyer, shown, text="Premium, 30 days · 200 ⭐")
    assert press.text == ""
    [told] = await chats.said(chats.people.buyer.id, after=shown.message_id)
    assert told.text() == SORRY
    assert len(_at("ERROR", log)) == 1


async def test_a_bug_behind_a_button_that_expired_meanwhile_is_not_hidden_by_that(chats: Chats, log: list[str]) -> None:
    buyer = chats.people.buyer
    shown = await chats.answer(buyer, "/buy")
    break_calls(chats.bot, _broken)
    query = {"id": "1", "from": buyer.user(), "message": shown.message, "chat_instance": "1", "data": "month"}
    await chats.push({"callback_query": query})
    [told] = await chats.said(buyer.id, after=shown.message_id)
    assert told.text() == SORRY
    [line] = _at("ERROR", log)
    assert "the secret printer is out of paper" in line


async def test_a_button_that_expired_does_its_work_all_the_same(chats: Chats, log: list[str]) -> None:
    buyer = chats.people.buyer
    shown = await chats.answer(buyer, "/buy")
    query = {"id": "1", "from": buyer.user(), "message": shown.message, "chat_instance": "1", "data": "month"}
    await chats.push({"callback_query": query})
    [invoice] = await chats.said(buyer.id, after=shown.message_id)
    assert "invoice" in invoice.message
    assert _at("ERROR", log) == _at("WARNING", log) == []


@pytest.mark.criterion("L2")
@pytest.mark.criterion("S6")
async def test_a_bug_in_a_pre_checkout_declines_it_in_words(chats: Chats, log: list[str]) -> None:
    invoice = await chats.answer(chats.people.buyer, "/buy month")
    chats.is_clock_broken = True
    payment = await chats.client.start_payment(
        chats.people.buyer.id, message_id=invoice.message_id, chat_id=invoice.chat_id
    )
    await chats.serve()
    payment = await chats.client.payment(payment.id)
    assert payment.state is PaymentState.DECLINED
    assert payment.error_message == (
        "We cannot take payments this minute. Please try again in a minute. Nothing was charged."
    )
    assert len(_at("ERROR", log)) == 1


@pytest.mark.criterion("E2")
async def test_a_payment_whose_handling_fails_is_not_apologised_for_and_goes_on(chats: Chats, log: list[str]) -> None:
    buyer = chats.people.buyer
    invoice = await chats.answer(buyer, "/buy month")
    await _rename(chats, "outbox", "away")
    payment = await chats.client.start_payment(buyer.id, message_id=invoice.message_id, chat_id=invoice.chat_id)
    await chats.serve()
    payment = await chats.client.payment_end(payment.id)
    await chats.serve()
    assert await chats.said(buyer.id, after=invoice.message_id) == []
    [line] = _at("WARNING", log)
    assert "the database is away" in line
    assert payment.charge_id is not None
    assert payment.charge_id in line
    await _rename(chats, "away", "outbox")
    await chats.settle()
    [told] = await chats.said(buyer.id, after=invoice.message_id)
    assert "Thank you!" in told.text()


@pytest.mark.criterion("E2")
async def test_while_the_database_is_away_a_command_is_answered_with_sorry(chats: Chats, log: list[str]) -> None:
    await _rename(chats, "users", "away")
    assert (await chats.answer(chats.people.buyer, "/status")).text() == SORRY
    assert len(_at("WARNING", log)) == 1
    assert _at("ERROR", log) == []


@pytest.mark.parametrize("reach", [Reach.BLOCKED, Reach.DEACTIVATED])
async def test_blocked_or_deactivated_buyer_is_no_error(chats: Chats, log: list[str], reach: Reach) -> None:
    buyer = chats.people.buyer
    await chats.client.send_text(buyer.id, "/status")
    await chats.client.set_reach(buyer.id, reach)
    await chats.serve()
    assert [line for line in log if "an answer is not wanted" in line] == _at("INFO", log)
    assert _at("ERROR", log) == _at("WARNING", log) == []


@pytest.mark.criterion("E1")
@pytest.mark.parametrize("kind", [FaultKind.CUT_BEFORE, FaultKind.RETRY_AFTER, FaultKind.SERVER_ERROR])
async def test_telegram_away_costs_one_answer_and_no_more(
    chats: Chats, log: list[str], kind: FaultKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer = chats.people.buyer
    skip_sleeps(monkeypatch)
    await chats.client.add_fault(kind, "sendMessage", count=ANSWER.attempts)
    [told] = await chats.say(buyer, "/status")
    assert told.text() == SORRY
    assert len(_at("WARNING", log)) == 1
    assert _at("ERROR", log) == []
    assert (await chats.answer(buyer, "/status")).text().startswith("You have nothing here now.")


@pytest.mark.criterion("E1")
async def test_log_quotes_no_answer_of_a_proxy(chats: Chats, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    buyer = chats.people.buyer
    skip_sleeps(monkeypatch)
    for database_is_away in (False, True):
        if database_is_away:
            await _rename(chats, "users", "away")
        async with proxy_that_answers() as proxy, talking_bot(proxy.url, TOKEN) as bot:
            await chats.write_through(bot, buyer, "/status")
        assert set(proxy.asked) == {"sendMessage"}
    taken, _, away, apology = _at("WARNING", log)
    assert "Telegram did not take an answer: ClientDecodeError: JSONDecodeError" in taken
    assert "the database is away" in away
    assert "an apology was not taken: ClientDecodeError: JSONDecodeError" in apology
    assert _at("ERROR", log) == []


async def test_an_apology_that_is_not_taken_ends_there(
    chats: Chats, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await _rename(chats, "users", "away")
    skip_sleeps(monkeypatch)
    await chats.client.add_fault(FaultKind.CUT_BEFORE, "sendMessage", count=ANSWER.attempts)
    assert await chats.say(chats.people.buyer, "/status") == []
    assert "an apology was not taken" in _at("WARNING", log)[1]
