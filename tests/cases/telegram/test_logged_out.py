"""400 "Logged out": Telegram's answer to every call while a bot moves between Bot API servers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from aiogram.exceptions import TelegramAPIError, TelegramBadRequest, TelegramNotFound, TelegramUnauthorizedError
from aiogram.methods import TelegramMethod
from sqlalchemy import select

from db.tables import OutboxMessage, Subscription
from tests.support.chats import Chats
from tests.support.subscribers import Subscriber

OUTAGES: Final = {
    "logged out": (TelegramBadRequest, "Logged out"),
    "no such token": (TelegramNotFound, "Not Found"),
    "unauthorized": (TelegramUnauthorizedError, "Unauthorized"),
}


@contextmanager
def _answered(chats: Chats, kind: type[TelegramAPIError], words: str) -> Iterator[None]:
    """Have every call but the poll answered so within the block."""

    async def answer(make_request: Any, bot: Any, method: TelegramMethod[Any]) -> Any:
        if method.__api_method__ != "getUpdates":
            raise kind(method, words)
        return await make_request(bot, method)

    chats.bot.session.middleware(answer)
    yield
    chats.bot.session.middleware.unregister(answer)


async def _pass_hours(chats: Chats, seconds: int, times: int) -> None:
    for _ in range(times):
        await chats.client.move_clock(seconds)
        await chats.settle()


@pytest.mark.parametrize(("kind", "words"), OUTAGES.values(), ids=OUTAGES.keys())
async def test_refund_and_notices_outlast_a_logged_out_bot(
    chats: Chats, kind: type[TelegramAPIError], words: str
) -> None:
    buyer, admin, other = chats.people.buyer, chats.people.admin, chats.people.other
    charge = await chats.buy(buyer, "month")
    invoice = await chats.answer(other, "/buy month")
    payment = await chats.client.start_payment(other.id, message_id=invoice.message_id, chat_id=invoice.chat_id)
    while (await chats.client.payment(payment.id)).state == "asking":
        await chats.serve()
    await chats.client.send_text(admin.id, f"/refund {charge} as agreed")
    await chats.serve()
    with _answered(chats, kind, words):
        await chats.settle()
        await _pass_hours(chats, 300, 2)
    await _pass_hours(chats, 3600, 6)
    async with chats.database.reading() as session:
        lost = [(each.kind, each.error) for each in await session.scalars(select(OutboxMessage)) if not each.sent_at]
    assert lost == []
    assert all(each.refunded_at for each in await chats.client.charges() if each.id == charge)


@pytest.mark.parametrize(("kind", "words"), OUTAGES.values(), ids=OUTAGES.keys())
async def test_a_renewal_is_ended_when_the_bot_is_back(chats: Chats, kind: type[TelegramAPIError], words: str) -> None:
    ann = Subscriber(chats, chats.people.buyer)
    await ann.subscribe()
    with _answered(chats, kind, words):
        await chats.client.send_text(chats.people.admin.id, f"/refund {(await ann.row()).first_charge_id}")
        await chats.serve()
        await chats.settle()
        await _pass_hours(chats, 300, 2)
    await _pass_hours(chats, 3600, 3)
    async with chats.database.reading() as session:
        [row] = await session.scalars(select(Subscription))
    assert (row.due_at, row.error, row.renewal_wanted) == (None, None, "canceled")
    assert (await chats.client.subscriptions())[0].state != "active"
