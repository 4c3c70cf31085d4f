"""`"ok": true` with a result that no method returns: the desk repeats questions, and no act on money."""

import json
from typing import Any, Final

import pytest
from aiogram.methods import (
    AnswerPreCheckoutQuery,
    CreateInvoiceLink,
    EditMessageText,
    SendInvoice,
    SendMessage,
    TelegramMethod,
)

from bot.calls.retry_calls import ANSWER
from sandbox.checkout import PaymentState
from tests.support.chats import Chats
from tests.support.subscribers import Subscriber
from tests.support.waiting import skip_sleeps

SORRY: Final = "That did not work, and the fault is ours. Please try again in a minute."
OFTEN: Final = 1_000
ODD: Final[list[object]] = [True, None, [], {}, 5, {"message_id": "x"}]


def _answer_oddly(chats: Chats, kind: type[TelegramMethod[Any]], result: object, count: int = OFTEN) -> None:
    """Let Telegram do the next `count` calls of a kind, and answer them so."""
    left = count

    async def answer(make_request: Any, bot: Any, method: TelegramMethod[Any]) -> Any:
        nonlocal left
        returned = await make_request(bot, method)
        if not isinstance(method, kind) or not left:
            return returned
        left -= 1
        said = json.dumps({"ok": True, "result": result})
        return chats.bot.session.check_response(chats.bot, method, 200, said).result

    chats.bot.session.middleware(answer)


@pytest.mark.parametrize("result", ODD)
async def test_notice_with_an_odd_answer_is_sent_once(chats: Chats, result: object) -> None:
    invoice = await chats.answer(chats.people.buyer, "/buy month")
    _answer_oddly(chats, SendMessage, result)
    await chats.pay(chats.people.buyer, invoice)
    for _ in range(3):
        await chats.client.move_clock(3_600)
        await chats.settle()
    told = [each.text() for each in await chats.said(chats.people.buyer.id, after=invoice.message_id)]
    assert ["Thank you!" in text for text in told] == [True]


@pytest.mark.parametrize("result", [None, 5, {}])
async def test_a_link_that_did_not_come_is_asked_for_again(chats: Chats, result: object) -> None:
    _answer_oddly(chats, CreateInvoiceLink, result, count=1)
    assert chats.people.buyer.id == (told := await chats.answer(chats.people.buyer, "/buy auto")).chat_id
    assert [button["text"] for button in told.buttons()] == ["Subscribe · 150 ⭐"]


async def test_a_link_that_never_comes_is_told_in_one_sentence(chats: Chats, monkeypatch: pytest.MonkeyPatch) -> None:
    _answer_oddly(chats, CreateInvoiceLink, {})
    skip_sleeps(monkeypatch)
    assert (await chats.answer(chats.people.buyer, "/buy auto")).text() == SORRY
    assert len(await chats.client.calls("createInvoiceLink")) == ANSWER.attempts


@pytest.mark.parametrize("result", [None, {}, "yes please"])
async def test_a_pre_checkout_that_was_answered_is_answered(chats: Chats, log: list[str], result: object) -> None:
    invoice = await chats.answer(chats.people.buyer, "/buy month")
    _answer_oddly(chats, AnswerPreCheckoutQuery, result)
    assert (await chats.pay(chats.people.buyer, invoice)).state is PaymentState.PAID
    assert len(await chats.client.calls("answerPreCheckoutQuery")) == 1
    assert [line for line in log if line.startswith(("ERROR", "WARNING"))] == []


@pytest.mark.parametrize("result", ODD)
async def test_an_invoice_that_was_sent_is_sent_once_and_called_no_failure(chats: Chats, result: object) -> None:
    _answer_oddly(chats, SendInvoice, result)
    [sent] = await chats.say(chats.people.buyer, "/buy month")
    assert "invoice" in sent.message


@pytest.mark.parametrize("result", [None, {}, 5])
async def test_a_question_that_was_answered_in_its_place_is_not_answered_below_it(
    chats: Chats, log: list[str], result: object
) -> None:
    ann = Subscriber(chats, chats.people.buyer)
    await ann.subscribe()
    await ann.press("Cancel Premium, renewed monthly")
    question = (await chats.said(ann.person.id))[-1]
    _answer_oddly(chats, EditMessageText, result)
    await chats.press(ann.person, question, text="Yes, cancel it")
    assert await chats.said(ann.person.id, after=question.message_id) == []
    assert [line for line in log if line.startswith("ERROR")] == []
