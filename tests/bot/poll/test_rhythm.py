"""The length of a poll behind a gateway that cuts silent calls."""

from typing import Final

import pytest
from aiogram.exceptions import (
    ClientDecodeError,
    TelegramConflictError,
    TelegramNetworkError,
    TelegramServerError,
    TelegramUnauthorizedError,
)
from aiogram.methods import GetUpdates

from bot.poll.rhythm import CUTS_MAX, SHORT_SECONDS, PollRhythm, was_cut_while_idle
from payments.telegram_errors import TelegramError

CALL: Final = GetUpdates()
PAGE: Final = ClientDecodeError("Failed to decode object", ValueError(), "<html>504</html>")
GATEWAY: Final = TelegramServerError(CALL, "Gateway Timeout")
CLOSED: Final = TelegramNetworkError(CALL, "ServerDisconnectedError: Server disconnected")


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def rhythm(seconds: Seconds) -> PollRhythm:
    return PollRhythm(30, seconds)


@pytest.mark.parametrize(
    ("error", "waited_seconds", "is_idle"),
    [
        (PAGE, 20, True),
        (GATEWAY, 20, True),
        (CLOSED, 20, True),
        (GATEWAY, 30.9, True),
        (GATEWAY, 0.4, False),
        (GATEWAY, 32, False),
        (TelegramNetworkError(CALL, "Request timeout error"), 20, False),
        (TelegramNetworkError(CALL, "ClientConnectorError: Cannot connect to host"), 5, False),
        (TelegramConflictError(CALL, "Conflict"), 20, False),
        (TelegramUnauthorizedError(CALL, "Unauthorized"), 20, False),
    ],
)
def test_idle_poll_is_a_silence_that_was_cut_short(error: TelegramError, waited_seconds: float, is_idle: bool) -> None:  # noqa: FBT001 - a case
    assert was_cut_while_idle(error, waited_seconds, 30) is is_idle


@pytest.mark.parametrize(("limit", "seconds_then"), [(60, 30), (30, 24), (20, 16), (5, 4), (1, 1)])
def test_the_next_polls_stay_below_the_gateways_limit(rhythm: PollRhythm, limit: int, seconds_then: int) -> None:
    assert rhythm.is_idle(GATEWAY, min(limit, 31), 30) is True
    assert rhythm.seconds == min(seconds_then, 24)


def test_longer_polls_are_tried_again_later(rhythm: PollRhythm, seconds: Seconds) -> None:
    rhythm.is_idle(GATEWAY, 20, 30)
    seconds.now = SHORT_SECONDS - 1
    assert rhythm.seconds == 16
    seconds.now = SHORT_SECONDS
    assert rhythm.seconds == 30


def test_cuts_with_no_answer_between_them_are_an_outage(rhythm: PollRhythm) -> None:
    assert [rhythm.is_idle(GATEWAY, 3, rhythm.seconds) for _ in range(CUTS_MAX + 1)] == [True] * CUTS_MAX + [False]
    rhythm.answered()
    assert rhythm.is_idle(GATEWAY, 3, rhythm.seconds)


def test_a_gateway_that_is_silent_for_longer_than_it_was_asked_is_no_idle_one(rhythm: PollRhythm) -> None:
    assert rhythm.is_idle(GATEWAY, 20, rhythm.seconds)
    assert not rhythm.is_idle(GATEWAY, 20, rhythm.seconds)
