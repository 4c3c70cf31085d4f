"""Messages to systemd's watchdog, over a socket as systemd has one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.monitoring.health import Health
from bot.monitoring.systemd import Notifier
from bot.monitoring.watchdog import watch
from payments.loop import Pulse
from tests.bot.monitoring.systemd import Systemd, listening_systemd
from tests.support.clock import FakeClock
from tests.support.logs import logged


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with listening_systemd(tmp_path / "notify") as systemd:
        yield systemd


@asynccontextmanager
async def watched(health: Health, **pulses: Pulse) -> AsyncIterator[None]:
    task = asyncio.create_task(watch(health, pulses, Notifier(), look_seconds=0))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_desk_is_ready_when_it_runs_and_says_how_it_is(systemd: Systemd, clock: FakeClock) -> None:
    health = Health(clock)
    async with watched(health):
        await systemd.until_heard("STATUS=starting")
        assert "READY=1" not in systemd.heard
        health.begin()
        await systemd.until_heard("STATUS=healthy")
        health.note("worker", "the database is away: OSError")
        await systemd.until_heard("STATUS=degraded, worker: the database is away: OSError")
    assert systemd.heard.count("READY=1") == 1


@pytest.mark.parametrize("waits_for", ["another desk", "its database"])
async def test_a_desk_that_waits_knowingly_is_up(systemd: Systemd, clock: FakeClock, waits_for: str) -> None:
    health = Health(clock)
    if waits_for == "another desk":
        health.is_standing_by = lambda: True
    else:
        health.note("database", "it cannot be reached: OSError")
    async with watched(health):
        await systemd.until_heard("READY=1")


class Seconds:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_a_sign_of_life_is_given_only_while_the_loops_beat(systemd: Systemd, clock: FakeClock) -> None:
    seconds = Seconds()
    loop = Pulse(seconds)
    loop.beat(30)
    with logged() as records:
        async with watched(Health(clock), poll=Pulse(), subscriptions=loop):
            await systemd.until_heard("WATCHDOG=1")
            seconds.now += 31
            await _looks(3)
            systemd.listen()
            await _looks(3)
            assert systemd.listen() == []
            loop.beat(30)
            await _looks(3)
            assert "WATCHDOG=1" in systemd.listen()
    assert [record["message"] for record in records] == [
        "loops hang, so that systemd's watchdog ends this process: subscriptions"
    ]


async def _looks(count: int) -> None:
    for _ in range(2 * count):
        await asyncio.sleep(0)


def test_a_loop_that_has_ended_is_not_held_for_one_that_hangs() -> None:
    seconds = Seconds()
    loop = Pulse(seconds)
    lives = [loop.is_alive]
    loop.beat(30)
    seconds.now += 31
    lives.append(loop.is_alive)
    loop.rest()
    assert [*lives, loop.is_alive] == [True, False, True]


def test_without_systemd_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().tell("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "@nobody-listens-there")
    Notifier().tell("READY=1")
