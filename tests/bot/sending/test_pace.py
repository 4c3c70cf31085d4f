"""The pace of all messages together, in a loop whose time passes only while everybody waits."""

import asyncio
import selectors
from typing import Final

import pytest

from bot.sending.pace import Pace
from payments.pause import Pause
from tests.support.clock import FakeClock

TELEGRAMS_LIMIT: Final = 30
"""Messages a second to all chats together (core.telegram.org/bots/faq)."""
_STEP_SECONDS: Final = 1e-6
"""The least time of one turn of the loop: a real one takes longer."""


class _Leaping(asyncio.SelectorEventLoop):
    """An event loop that leaps over each wait instead of sleeping through it."""

    def __init__(self) -> None:
        self._now = 0.0
        selector = selectors.DefaultSelector()
        look = selector.select

        def leap(timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            self._now += max(timeout or 0, _STEP_SECONDS)
            return look(0)

        selector.select = leap  # type: ignore[method-assign] # the loop takes its time from its selector's wait
        super().__init__(selector)

    def time(self) -> float:
        return self._now


async def _sent_at(messages_per_second: int, count: int) -> list[float]:
    """Return the seconds at which so many messages go that wait together."""
    clock = FakeClock()
    pace, at = Pace(clock, Pause(clock), messages_per_second=messages_per_second), []
    for _ in range(count):
        async with pace.limiter:
            at.append(asyncio.get_running_loop().time())
    return at


@pytest.mark.parametrize("messages_per_second", [1, 4, 25, 1000])
def test_messages_go_at_the_pace_of_the_setting(messages_per_second: int) -> None:
    with asyncio.Runner(loop_factory=_Leaping) as runner:
        at = runner.run(_sent_at(messages_per_second, 11 * messages_per_second))
    assert 10 <= at[-1] <= 11


def test_no_second_has_more_messages_than_telegram_allows() -> None:
    with asyncio.Runner(loop_factory=_Leaping) as runner:
        at = runner.run(_sent_at(25, 200))
    assert max(sum(begin <= each < begin + 1 for each in at) for begin in at) <= TELEGRAMS_LIMIT
