"""One pause of Telegram's for all senders; the desk answers a pre-checkout through it."""

from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest, TelegramRetryAfter
from aiogram.methods import RefundStarPayment, SendMessage, SetMyCommands, TelegramMethod

from bot.poll.intake import GetRawUpdates
from bot.sending.pace import Pace
from bot.sending.pause_keeper import WAIT_SECONDS_MAX, PauseKeeper
from payments.pause import SECONDS_MAX, Pause
from sandbox.client import SandboxClient
from sandbox.faults import FaultKind
from sandbox.server import running_sandbox
from tests.support.bots import talking_bot
from tests.support.clock import FakeClock
from tests.support.waiting import skip_sleeps

ANN: Final = 7001
BOB: Final = 7002


@pytest.fixture
def pause(clock: FakeClock) -> Pause:
    return Pause(clock)


@pytest_asyncio.fixture
async def telegram() -> AsyncIterator[SandboxClient]:
    async with running_sandbox() as server:
        await server.client.add_person("Ann", id=ANN, started=True)
        await server.client.add_person("Bob", id=BOB, started=True)
        yield server.client


@pytest_asyncio.fixture
async def bot(telegram: SandboxClient, pause: Pause) -> AsyncIterator[Bot]:
    async with talking_bot(telegram.url, (await telegram.about()).token) as bot:
        bot.session.middleware(PauseKeeper(pause))
        yield bot


@pytest.mark.criterion("E1")
@pytest.mark.parametrize(
    "method", [SendMessage(chat_id=ANN, text="x"), RefundStarPayment(user_id=ANN, telegram_payment_charge_id="x")]
)
async def test_a_pause_that_one_was_asked_for_is_kept_by_all(
    bot: Bot, telegram: SandboxClient, pause: Pause, clock: FakeClock, method: TelegramMethod[bool]
) -> None:
    await telegram.add_fault(FaultKind.RETRY_AFTER, "editUserStarSubscription", retry_after_seconds=30)
    with pytest.raises(TelegramRetryAfter):
        await bot.edit_user_star_subscription(ANN, "x", is_canceled=True)
    with pytest.raises(TelegramRetryAfter) as raised:
        await bot(method)
    assert raised.value.retry_after >= 30
    assert await telegram.calls(method.__api_method__) == []
    clock.advance(seconds=30)
    assert pause.until is None
    await telegram.add_fault(FaultKind.ANSWER_LOST, method.__api_method__)
    with pytest.raises(Exception, match=r"(?i)disconnected"):
        await bot(method)
    assert len(await telegram.calls(method.__api_method__)) == 1


async def _ask(bot: Bot, telegram: SandboxClient, chat_id: int, seconds: int) -> None:
    await telegram.add_fault(FaultKind.RETRY_AFTER, "sendMessage", retry_after_seconds=seconds)
    with pytest.raises(TelegramRetryAfter):
        await bot.send_message(chat_id, "x")


async def test_a_chat_that_is_written_to_too_often_rests_alone(
    bot: Bot, telegram: SandboxClient, pause: Pause, clock: FakeClock
) -> None:
    await _ask(bot, telegram, ANN, 30)
    for call in (bot.send_message(ANN, "x"), bot.send_chat_action(ANN, "typing")):
        with pytest.raises(TelegramRetryAfter):
            await call
    await bot.send_message(BOB, "x")
    assert pause.until is None
    # A recorded message waits for that chat, and for no other.
    pace = Pace(clock, pause)
    assert (pace.left_seconds(ANN), pace.left_seconds(BOB)) == (30, 0)
    clock.advance(seconds=30)
    await bot.send_message(ANN, "x")


async def test_pause_of_a_second_chat_pauses_all(
    bot: Bot, telegram: SandboxClient, pause: Pause, clock: FakeClock
) -> None:
    await _ask(bot, telegram, ANN, 30)
    clock.advance(seconds=30)
    await _ask(bot, telegram, BOB, 30)
    assert pause.until is None, "the first one's rest is over"
    await _ask(bot, telegram, ANN, 20)
    assert pause.seconds_left == 20
    with pytest.raises(TelegramRetryAfter):
        await bot(RefundStarPayment(user_id=ANN, telegram_payment_charge_id="x"))
    clock.advance(seconds=20)
    assert (pause.chat_seconds_left(ANN), pause.chat_seconds_left(BOB)) == (0, 10)


@pytest.mark.criterion("L2")
async def test_pre_checkouts_and_the_poll_are_not_held(bot: Bot, telegram: SandboxClient, pause: Pause) -> None:
    pause.ask(30)
    with pytest.raises(TelegramBadRequest, match="query is too old"):
        await bot.answer_pre_checkout_query("1", ok=True)
    assert len(await telegram.calls("answerPreCheckoutQuery")) == 1
    assert await bot(GetRawUpdates(timeout=0)) == []


@pytest.mark.parametrize("method", [GetRawUpdates(timeout=0), SetMyCommands(commands=[])])
async def test_a_pause_of_what_sends_nothing_holds_nobody(
    bot: Bot, telegram: SandboxClient, pause: Pause, method: TelegramMethod[bool]
) -> None:
    await telegram.add_fault(FaultKind.RETRY_AFTER, method.__api_method__, retry_after_seconds=30)
    with pytest.raises(TelegramRetryAfter):
        await bot(method)
    assert pause.until is None


async def test_an_answer_waits_out_the_short_rest_of_a_pause(
    bot: Bot, pause: Pause, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause.ask(30)
    clock.advance(seconds=30 - WAIT_SECONDS_MAX)
    slept = skip_sleeps(monkeypatch)
    await bot.send_message(ANN, "x")
    assert WAIT_SECONDS_MAX in slept


def test_a_pause_is_bounded_and_the_longer_one_counts(pause: Pause, clock: FakeClock) -> None:
    pause.ask(30)
    pause.ask(5)
    assert pause.seconds_left == 30
    pause.ask(10 * SECONDS_MAX)
    assert pause.seconds_left == SECONDS_MAX
    # Nor does it grow when the clock is set back.
    clock.advance(hours=-1)
    pause.ask(5)
    assert pause.seconds_left == 5
