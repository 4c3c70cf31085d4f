"""Answers that a person waits for meet a cut connection, a short 429, a 502: the desk repeats them meanwhile."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import pytest
from aiogram.exceptions import TelegramBadRequest, TelegramNetworkError
from aiogram.methods import AnswerPreCheckoutQuery, SendMessage, TelegramMethod
from aiogram.types import Update

from bot.calls.retry_calls import ANSWER, PRE_CHECKOUT, CallRetries, somebody_waits
from bot.monitoring.call_meter import ANSWERS_LOST, ANSWERS_SAID_AGAIN
from bot.poll.intake import GetRawUpdates
from bot.poll.lanes import Lanes
from payments.audit.facts import Fact
from sandbox.checkout import Payment, PaymentState
from sandbox.faults import FaultKind
from sandbox.people import Person
from tests.support.chats import RICH, Chats
from tests.support.subscribers import Subscriber
from tests.support.waiting import WAIT_SECONDS, skip_sleeps, until

PASSING: Final = [FaultKind.CUT_BEFORE, FaultKind.ANSWER_LOST, FaultKind.RETRY_AFTER, FaultKind.SERVER_ERROR]
OFTEN: Final = 100
SORRY: Final = "That did not work, and the fault is ours. Please try again in a minute."
SEED: Final = 14


async def _asking(chats: Chats, buyer: Person) -> Payment:
    invoice = await chats.answer(buyer, "/buy month")
    return await chats.client.start_payment(buyer.id, message_id=invoice.message_id, chat_id=invoice.chat_id)


async def _state(chats: Chats, payment: Payment) -> PaymentState:
    return (await chats.client.payment(payment.id)).state


async def _times(chats: Chats, method: str) -> int:
    return len(await chats.client.calls(method))


@pytest.mark.parametrize("kind", PASSING)
async def test_the_answer_to_a_pre_checkout(chats: Chats, kind: FaultKind) -> None:
    payment = await _asking(chats, chats.people.buyer)
    await chats.client.add_fault(kind, "answerPreCheckoutQuery", retry_after_seconds=1)
    await chats.serve()
    assert await _state(chats, payment) is PaymentState.PAID
    answers = await chats.client.calls("answerPreCheckoutQuery")
    assert [answer.args["ok"] for answer in answers] == ["true", "true"]


@pytest.mark.parametrize("kind", PASSING)
@pytest.mark.parametrize(
    ("words", "method", "shown"),
    [
        ("/buy month", "sendInvoice", "invoice"),
        ("/buy auto", "createInvoiceLink", "reply_markup"),
        ("/buy auto", "sendMessage", "reply_markup"),
        ("/status", "sendMessage", "text"),
    ],
)
async def test_an_answer_in_a_chat(chats: Chats, kind: FaultKind, words: str, method: str, shown: str) -> None:
    await chats.client.add_fault(kind, method)
    said = await chats.say(chats.people.buyer, words)
    # A message whose answer was lost may be there twice.
    assert len(said) == (2 if kind is FaultKind.ANSWER_LOST and method.startswith("send") else 1)
    assert all(shown in each.message for each in said)
    assert await _times(chats, method) == 2


@pytest.mark.parametrize("kind", PASSING)
@pytest.mark.parametrize("method", ["answerCallbackQuery", "editMessageText"])
async def test_an_answer_to_a_button(chats: Chats, log: list[str], kind: FaultKind, method: str) -> None:
    ann = Subscriber(chats, chats.people.buyer)
    await ann.subscribe()
    await ann.press("Cancel Premium, renewed monthly")
    question = (await chats.said(ann.person.id))[-1]
    log.clear()
    await chats.client.add_fault(kind, method)
    press = await chats.press(ann.person, question, text="Yes, cancel it")
    assert press.answered
    assert (await ann.row()).renewal_wanted == "canceled"
    assert [each.text() for each in await chats.said(ann.person.id, after=question.message_id)] == []
    assert [line for line in log if not line.startswith("INFO")] == []


async def test_a_button_whose_press_cannot_be_answered_has_done_its_work(
    chats: Chats, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = await chats.answer(chats.people.buyer, "/buy")
    await chats.client.add_fault(FaultKind.SERVER_ERROR, "answerCallbackQuery", count=OFTEN)
    skip_sleeps(monkeypatch)
    await chats.client.press(chats.people.buyer.id, shown.message_id, text="Premium, 30 days · 200 ⭐")
    await chats.serve()
    [invoice] = await chats.said(chats.people.buyer.id, after=shown.message_id)
    assert "invoice" in invoice.message
    assert "the press of a button was not answered" in log[-1]


@pytest.mark.parametrize("method", ["sendInvoice", "createInvoiceLink"])
async def test_invoice_that_stays_refused_is_counted_and_apologised_for(
    chats: Chats, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    await chats.client.add_fault(FaultKind.SERVER_ERROR, method, count=OFTEN)
    repeated = ANSWERS_SAID_AGAIN.labels(method)._value
    lost = ANSWERS_LOST.labels(method)._value
    before = repeated.get(), lost.get()
    skip_sleeps(monkeypatch)
    told = await chats.answer(chats.people.buyer, "/buy month" if method == "sendInvoice" else "/buy auto")
    assert told.text() == SORRY
    assert (repeated.get() - before[0], lost.get() - before[1]) == (ANSWER.attempts - 1, 1)


@pytest.mark.parametrize("pause_seconds", [10, 3600])
async def test_a_pause_that_outlasts_the_person_is_not_waited_for(chats: Chats, pause_seconds: int) -> None:
    await chats.client.add_fault(FaultKind.RETRY_AFTER, "sendInvoice", retry_after_seconds=pause_seconds)
    assert (await chats.answer(chats.people.buyer, "/buy month")).text() == SORRY
    assert await _times(chats, "sendInvoice") == 1
    payment = await _asking(chats, chats.people.other)
    await chats.client.add_fault(
        FaultKind.RETRY_AFTER, "answerPreCheckoutQuery", count=OFTEN, retry_after_seconds=pause_seconds
    )
    await chats.serve()
    assert await _times(chats, "answerPreCheckoutQuery") == 1
    assert await _state(chats, payment) is not PaymentState.DECLINED


@pytest.mark.parametrize("kind", [FaultKind.CUT_BEFORE, FaultKind.SERVER_ERROR])
async def test_a_pre_checkout_that_is_never_taken_gets_no_other_answer(
    chats: Chats, log: list[str], monkeypatch: pytest.MonkeyPatch, kind: FaultKind
) -> None:
    payment = await _asking(chats, chats.people.buyer)
    await chats.client.add_fault(kind, "answerPreCheckoutQuery", count=OFTEN)
    skip_sleeps(monkeypatch)
    await chats.serve()
    answers = await chats.client.calls("answerPreCheckoutQuery")
    assert [answer.args["ok"] for answer in answers] == ["true"] * PRE_CHECKOUT.attempts
    assert await _state(chats, payment) is not PaymentState.DECLINED
    assert [line for line in log if "a pre-checkout was not answered" in line] == [log[-1]]


@pytest.mark.parametrize("error", [RuntimeError("Session is closed"), OSError("no file is left")])
async def test_a_bug_in_answering_is_no_other_answer(chats: Chats, log: list[str], error: Exception) -> None:
    payment = await _asking(chats, chats.people.buyer)
    answers = []

    async def stumble(make_request: Any, bot: Any, method: TelegramMethod[Any]) -> Any:
        if isinstance(method, AnswerPreCheckoutQuery):
            answers.append(method.ok)
            raise error
        return await make_request(bot, method)

    chats.bot.session.middleware(stumble)
    await chats.serve()
    assert answers == [True]
    assert await _state(chats, payment) is not PaymentState.DECLINED
    assert "a pre-checkout was not answered" in log[-1]


async def test_a_query_that_is_too_old_ends_it(chats: Chats, log: list[str]) -> None:
    await _asking(chats, chats.people.buyer)
    await chats.client.move_clock(11)
    await chats.serve()
    assert await _times(chats, "answerPreCheckoutQuery") == 1
    assert [line for line in log if line.startswith(("ERROR", "WARNING"))] == []


async def test_a_try_without_an_answer_is_given_up_in_time_for_the_next(
    chats: Chats,
) -> None:
    chats.bot.session.middleware(CallRetries({"answerPreCheckoutQuery": replace(PRE_CHECKOUT, call_seconds=0.5)}))
    payment = await _asking(chats, chats.people.buyer)
    await chats.client.add_fault(FaultKind.HOLD, "answerPreCheckoutQuery")
    await chats.serve()
    assert await _state(chats, payment) is PaymentState.PAID
    await chats.client.release_holds()


async def test_money_and_what_the_outbox_sends_are_not_said_again(chats: Chats) -> None:
    charge = await chats.buy(chats.people.buyer, "month")
    await chats.client.add_fault(FaultKind.CUT_BEFORE, "refundStarPayment")
    await chats.client.send_text(chats.people.admin.id, f"/refund {charge}")
    await chats.settle()
    assert await _times(chats, "refundStarPayment") == 1
    before = await _times(chats, "sendMessage")
    await chats.client.add_fault(FaultKind.CUT_BEFORE, "sendMessage")
    await chats.client.move_clock(60)
    await chats.settle()
    assert await _times(chats, "refundStarPayment") == 2
    # One for the buyer, one for the admin; of the two, one was cut, and waits for its next turn.
    assert await _times(chats, "sendMessage") == before + 2


async def test_an_answer_that_is_said_again_stands_in_nobody_elses_way(chats: Chats) -> None:
    invoices = [await chats.answer(each, "/buy month") for each in (chats.people.buyer, chats.people.other)]
    first, second = [
        await chats.client.start_payment(each.chat_id, message_id=each.message_id, chat_id=each.chat_id)
        for each in invoices
    ]
    raw: list[Any] = []
    while len(raw) < len(invoices):
        offset = raw[-1]["update_id"] + 1 if raw else chats._offset
        batch = await chats.bot(GetRawUpdates(timeout=0, offset=offset))
        raw += batch
    queries = [Update.model_validate(each, context={"bot": chats.bot}) for each in raw]
    first_query_id = raw[0]["pre_checkout_query"]["id"]
    is_away = True

    async def stumble(make_request: Any, bot: Any, method: TelegramMethod[Any]) -> Any:
        if is_away and getattr(method, "pre_checkout_query_id", None) == first_query_id:
            raise TelegramNetworkError(method, "nobody there")
        return await make_request(bot, method)

    async def feed(update: Update, fact: Fact | None) -> None:
        await chats._dispatcher.feed_update(chats.bot, update, fact=fact)

    chats.bot.session.middleware(stumble)
    lanes = Lanes(feed, on_full=lambda: None)
    lanes.start()
    for query in queries:
        lanes.pre_checkout(query)

    async def is_paid(payment: Payment) -> bool:
        return await _state(chats, payment) is PaymentState.PAID

    await until(lambda: is_paid(second))
    assert not await is_paid(first)
    is_away = False
    await until(lambda: is_paid(first))
    await lanes.close(WAIT_SECONDS)


async def test_call_that_nobody_waits_for_is_not_retried(chats: Chats) -> None:
    chats.bot.session.middleware(CallRetries())
    await chats.client.add_fault(FaultKind.CUT_BEFORE, "sendMessage", count=2)
    call = SendMessage(chat_id=chats.people.buyer.id, text="x")
    with pytest.raises(TelegramNetworkError):
        await chats.bot(call)
    with somebody_waits(seconds_gone=ANSWER.seconds), pytest.raises(TelegramNetworkError):
        await chats.bot(call)
    assert await _times(chats, "sendMessage") == 2


async def test_a_refusal_is_not_said_again(chats: Chats) -> None:
    chats.bot.session.middleware(CallRetries())
    with somebody_waits(), pytest.raises(TelegramBadRequest):
        await chats.bot(SendMessage(chat_id=1, text="x"))
    assert await _times(chats, "sendMessage") == 1


@contextmanager
def _bad_luck(chats: Chats, chance: random.Random, share: float) -> Iterator[None]:
    """Let each kind of fault meet a `share` of all calls but the poll."""

    async def meet(make_request: Any, bot: Any, method: TelegramMethod[Any]) -> Any:
        name = method.__api_method__
        drawn = int(chance.random() / share)
        if name != "getUpdates" and drawn < len(PASSING):
            await chats.client.add_fault(PASSING[drawn], name, retry_after_seconds=1)
        return await make_request(bot, method)

    chats.bot.session.middleware(meet)
    yield
    chats.bot.session.middleware.unregister(meet)


async def test_at_a_tenth_of_each_fault_no_pre_checkout_is_lost_and_next_to_no_invoice(
    chats: Chats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tries are bounded by their number, for their pauses are skipped; that is the narrower bound."""
    buyers = [await chats.client.add_person(f"B{n}", balance_stars=RICH, started=True) for n in range(40)]
    skip_sleeps(monkeypatch)
    paid, without = 0, []
    with _bad_luck(chats, random.Random(SEED), 0.1):  # noqa: S311 - a seed
        for buyer in buyers:
            said = await chats.say(buyer, "/buy month")
            invoice = next((each for each in said if "invoice" in each.message), None)
            if invoice is None:
                without.append(buyer.id)
                continue
            payment = await chats.client.start_payment(buyer.id, message_id=invoice.message_id, chat_id=invoice.chat_id)
            await chats.serve()
            paid += await _state(chats, payment) is PaymentState.PAID
    assert paid == len(buyers) - len(without)
    assert len(without) <= len(buyers) / 20
    assert await asyncio.wait_for(_times(chats, "sendInvoice"), WAIT_SECONDS) > len(buyers)
