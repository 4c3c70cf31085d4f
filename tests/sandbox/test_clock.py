"""The sandbox's virtual time: it runs, can be moved, and fires timers in order."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.client import SandboxClient
from sandbox.clock import VirtualClock, real_now
from sandbox.people import Person
from sandbox.remote.transport import SandboxError
from sandbox.server import SandboxServer

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@settings(deadline=None)
@given(st.lists(st.integers(0, 100), max_size=20), st.integers(0, 100))
def test_timers_fire_in_order_each_at_its_moment(delays: list[int], step: int) -> None:
    clock = VirtualClock(lambda: NOON)
    fired: list[datetime] = []
    for delay in delays:
        clock.call_at(NOON + timedelta(seconds=delay), lambda: fired.append(clock.now()))
    clock.move(timedelta(seconds=step))
    assert fired == [NOON + timedelta(seconds=delay) for delay in sorted(delays) if delay <= step]
    assert clock.now() == NOON + timedelta(seconds=step)


def test_a_timer_set_by_a_timer_fires_on_the_way() -> None:
    clock = VirtualClock(lambda: NOON)
    fired: list[timedelta] = []

    def again() -> None:
        fired.append(clock.now() - NOON)
        clock.call_at(clock.now() + timedelta(days=30), again)

    clock.call_at(NOON + timedelta(days=30), again)
    clock.move(timedelta(days=100))
    assert fired == [timedelta(days=30), timedelta(days=60), timedelta(days=90)]


def test_a_cancelled_timer_does_not_fire() -> None:
    clock = VirtualClock(lambda: NOON)
    timer = clock.call_at(NOON, lambda: pytest.fail("it was cancelled"))
    timer.cancel()
    clock.run_due()
    assert clock.next_due() is None


def test_no_time_passes_in_one_moment() -> None:
    seconds = iter(range(10))
    clock = VirtualClock(lambda: NOON + timedelta(seconds=next(seconds)))
    with clock.one_moment():
        assert clock.now() == clock.now()
    assert clock.now() != clock.now()


async def test_due_things_happen_as_real_time_goes_by(server: SandboxServer) -> None:
    clock = server.world.clock
    fired = asyncio.Event()
    clock.call_at(clock.now() + timedelta(hours=1), lambda: pytest.fail("it is not due"))
    clock.call_at(clock.now() + timedelta(milliseconds=20), fired.set)
    async with asyncio.timeout(10):
        await fired.wait()


async def test_clock_starts_now_and_dates_messages(client: SandboxClient, ann: Person) -> None:
    before = real_now()
    reading = await client.clock()
    assert before <= reading.now <= real_now()
    assert reading.offset_seconds == 0
    moved = await client.move_clock(86_400)
    assert moved.offset_seconds == 86_400
    sent = await client.send_text(ann.id, "tomorrow")
    assert sent.message["date"] >= int((before + timedelta(days=1)).timestamp())


@pytest.mark.parametrize("seconds", [-1, 10**9, float("inf")])
async def test_clock_refuses_to_go_back_or_too_far(seconds: float, client: SandboxClient) -> None:
    with pytest.raises(SandboxError):
        await client.move_clock(seconds)
    assert (await client.clock()).offset_seconds == 0
