"""The monitor of one desk, wired as the desk wires it."""

from pathlib import Path

import pytest

from bot.monitoring.health import HealthState
from bot.monitoring.monitor import Monitor
from db.engine import Database
from db.lock import desk_lock
from db.timings import Timings
from payments.loop import DueLoop, Pulse
from tests.bot.monitoring.systemd import listening_systemd
from tests.support.clock import FakeClock


async def _nothing() -> int:
    return 0


@pytest.mark.criterion("O7")
async def test_each_part_and_each_loop_is_watched_by_its_name(
    clock: FakeClock, database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monitor = Monitor(clock, desk_lock(database_url), Timings(health_look_seconds=0))
    parts = {name: DueLoop(name, _nothing) for name in ("worker", "subscriptions")}
    now = 0.0
    pulse = Pulse(lambda: now)
    with listening_systemd(tmp_path / "notify") as systemd:
        async with monitor.running(0, database):
            await systemd.until_heard("WATCHDOG=1")
            monitor.watch_desk(parts, {"subscriptions": pulse})
            assert monitor.health.look() is HealthState.HEALTHY
            parts["subscriptions"].trouble = "the database is away: OSError"
            assert monitor.health.report()["troubles"].keys() == {"subscriptions"}
            await systemd.until_heard("STATUS=degraded, subscriptions: the database is away: OSError")
            pulse.beat(30)
            now = 31.0
            parts["subscriptions"].trouble = None
            systemd.heard.clear()
            await systemd.until_heard("STATUS=healthy")
            assert "WATCHDOG=1" not in systemd.heard, "one of its loops hangs"
