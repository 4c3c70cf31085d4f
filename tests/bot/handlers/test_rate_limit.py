import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.handlers.rate_limit import BURST, PER_SECOND, USERS_MAX, Admission, RateLimit
from tests.support.chats import Chats
from tests.support.clock import FakeClock

SLOW_DOWN = "One moment, please: that was a lot at once. Try again in a minute."


@pytest.mark.criterion("L4")
async def test_flooding_buyer_is_told_once_and_can_pay(chats: Chats) -> None:
    buyer = chats.people.buyer
    chats.stop_clock()
    invoice = await chats.answer(buyer, "/buy month")
    answers = [text.text() for _ in range(BURST + 10) for text in await chats.say(buyer, "/help")]
    assert answers[BURST - 1 :] == [SLOW_DOWN]
    assert (await chats.pay(buyer, invoice)).charge_id is not None
    assert "Thank you!" in (await chats.said(buyer.id))[-2].text() + (await chats.said(buyer.id))[-1].text()
    assert (await chats.answer(chats.people.other, "/help")).text() != SLOW_DOWN


async def test_two_sender_chats_share_no_allowance(chats: Chats) -> None:
    """Telegram puts one account before all channels that write in a group."""
    chats.stop_clock()
    desk, shown = chats.people.desk, {"id": 136_817_688, "is_bot": True, "first_name": "Channel"}
    answered = []
    for channel_id in (-1_001_900_000_001, -1_001_900_000_002):
        sender = {"id": channel_id, "title": "News", "type": "channel"}
        before = len(await chats.said(desk.id))
        for n in range(BURST + 5):
            message = {"message_id": n + 1, "date": 1, "from": shown, "sender_chat": sender, "chat": desk.chat()}
            await chats.push({"message": message | {"text": "/help"}})
        answered.append([each.text() for each in (await chats.said(desk.id))[before:]])
    assert answered == [[SLOW_DOWN], [SLOW_DOWN]]


def test_rest_brings_the_allowance_back(clock: FakeClock) -> None:
    limit = RateLimit(clock)
    first = [limit.admit(1) for _ in range(BURST + 2)]
    assert first == [Admission.ANSWER] * BURST + [Admission.WARN, Admission.IGNORE]
    clock.advance(seconds=1 / PER_SECOND)
    assert [limit.admit(1) for _ in range(2)] == [Admission.ANSWER, Admission.IGNORE]
    clock.advance(seconds=BURST / PER_SECOND)
    assert [limit.admit(1) for _ in range(BURST + 1)] == [Admission.ANSWER] * BURST + [Admission.WARN]


def test_a_clock_that_is_set_back_takes_nothing_away(clock: FakeClock) -> None:
    limit = RateLimit(clock)
    assert limit.admit(1) is Admission.ANSWER
    clock.advance(days=-40)
    assert [limit.admit(1) for _ in range(BURST - 1)] == [Admission.ANSWER] * (BURST - 1)
    clock.advance(seconds=1 / PER_SECOND)
    assert limit.admit(1) is Admission.ANSWER


@given(pauses_seconds=st.lists(st.floats(0, 60), max_size=200))
def test_answers_never_exceed_burst_and_rest(pauses_seconds: list[float]) -> None:
    clock = FakeClock()
    limit = RateLimit(clock)
    answered = 0
    for pause_seconds in pauses_seconds:
        clock.advance(seconds=pause_seconds)
        answered += limit.admit(1) is Admission.ANSWER
    assert answered <= BURST + sum(pauses_seconds) * PER_SECOND + 1e-6


def test_rate_limit_remembers_only_the_latest_users(clock: FakeClock) -> None:
    limit = RateLimit(clock)
    for user_id in range(USERS_MAX + 10):
        limit.admit(user_id)
    assert len(limit._users) == USERS_MAX
