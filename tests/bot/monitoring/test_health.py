from bot.monitoring.health import Health, HealthState
from tests.support.clock import FakeClock


def test_a_desk_starts_stands_by_and_is_healthy(clock: FakeClock) -> None:
    health = Health(clock)
    assert health.look() is HealthState.STARTING
    health.is_standing_by = lambda: True
    assert health.report() == {"state": "standing_by", "troubles": {}}
    health.begin()
    assert health.look() is HealthState.HEALTHY


def test_trouble_is_told_by_its_part_with_since_when_and_why(clock: FakeClock) -> None:
    health = Health(clock)
    health.begin()
    said: list[str | None] = [None]
    health.watch("worker", lambda: said[0])
    assert health.look() is HealthState.HEALTHY
    said[0] = "the database is away: OSError"
    health.look()
    clock.advance(minutes=5)
    said[0] = "the database is away: TimeoutError"
    assert health.report() == {
        "state": "degraded",
        "troubles": {"worker": {"since": "2026-03-01T12:00:00+00:00", "why": "the database is away: TimeoutError"}},
    }
    said[0] = None
    assert health.look() is HealthState.HEALTHY


def test_health_names_the_trouble_of_a_waiting_start(clock: FakeClock) -> None:
    health = Health(clock)
    health.note("database", "it cannot be reached: OSError")
    assert health.report()["state"] == "starting"
    assert list(health.report()["troubles"]) == ["database"]
