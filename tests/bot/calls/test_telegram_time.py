"""Telegram's time, measured on a machine whose clock is wrong, or is set while the desk runs."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.calls.telegram_time import SPANS_KEPT, SPANS_NEEDED, TelegramTime, skew_in_words

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Machine:
    """A machine: what has passed since its boot, and how far its clock is ahead of the true time."""

    def __init__(self, ahead: timedelta = timedelta()) -> None:
        self.passed = 1000.25
        self.ahead = ahead
        self.time = TelegramTime(self.clock, lambda: self.passed)

    def true(self) -> datetime:
        return START + timedelta(seconds=self.passed)

    def clock(self) -> datetime:
        return self.true() + self.ahead

    def answer(self, *, off: timedelta = timedelta(), before: float = 0.1, after: float = 0.1) -> None:
        """Let Telegram answer a call; `off` is the error of the `Date`, which is made between two waits."""
        sent = self.passed
        self.passed += before
        said_at = (self.true() + off).replace(microsecond=0)
        self.passed += after
        self.time.note_answer(sent, self.passed, said_at)

    def message(self, *, late: timedelta = timedelta(), held: float = 10.0) -> None:
        """Let a poll end with a message."""
        sent = self.passed
        self.passed += held
        self.time.note_update(sent, self.passed, (self.true() - late).replace(microsecond=0))

    def is_well(self) -> bool:
        """Tell whether its clock is thought to be right."""
        return self.time.trouble is None

    def off_seconds(self) -> float:
        """Return how far what is believed is from Telegram's time."""
        return abs((self.time() - self.true()).total_seconds())


@given(
    ahead_seconds=st.floats(-1e9, 1e9),
    waits=st.lists(st.tuples(st.floats(0, 2), st.floats(0, 2)), min_size=SPANS_NEEDED, max_size=9),
)
def test_a_machine_that_is_off_learns_the_time(ahead_seconds: float, waits: list[tuple[float, float]]) -> None:
    machine = Machine(timedelta(seconds=ahead_seconds))
    for before, after in waits:
        machine.answer(before=before, after=after)
    assert machine.off_seconds() <= 5
    assert abs(machine.time.skew.total_seconds() - ahead_seconds) <= 5
    assert (machine.time.trouble is not None) is (abs(machine.time.skew) > timedelta(minutes=1))


@pytest.mark.parametrize("answers", range(SPANS_NEEDED))
def test_before_enough_answers_the_machines_clock_counts(answers: int) -> None:
    machine = Machine(timedelta(hours=3))
    for _ in range(answers):
        machine.answer()
    assert machine.time() == machine.clock()
    assert machine.time.trouble is None


@given(st.permutations([timedelta()] * 3 + [timedelta(hours=5), timedelta(hours=-7)]))
def test_odd_answers_among_several_change_nothing(errors: list[timedelta]) -> None:
    machine = Machine()
    for off in errors:
        machine.answer(off=off)
        assert machine.off_seconds() < 2, "nor while the first of them are known"


def test_slow_answers_are_not_counted() -> None:
    machine = Machine(timedelta(hours=3))
    for _ in range(SPANS_KEPT):
        machine.answer(before=20)
    assert machine.time() == machine.clock()
    assert machine.time.is_doubted, "but contradict what is believed"


def test_a_step_of_the_machines_clock_does_not_move_it() -> None:
    machine = Machine()
    for _ in range(SPANS_NEEDED):
        machine.answer()
    machine.ahead = timedelta(hours=3)
    assert machine.off_seconds() < 2
    assert machine.time.trouble == (
        "this machine's clock is 3 h ahead of Telegram's: let it keep its time (timedatectl set-ntp true)"
    )
    machine.ahead = timedelta()
    assert machine.is_well()


def test_a_second_of_rounding_is_no_skew() -> None:
    machine = Machine()
    for _ in range(SPANS_KEPT):
        machine.answer()
    assert machine.time.skew == timedelta()


def test_a_gateway_that_dates_wrongly_is_refuted_by_messages_and_the_machine() -> None:
    machine = Machine()
    for _ in range(SPANS_KEPT):
        machine.answer(off=timedelta(hours=2))
    assert not machine.is_well()
    for _ in range(SPANS_NEEDED):
        machine.message()
    assert machine.is_well()
    assert machine.off_seconds() < 2


def test_messages_that_are_late_prove_nothing() -> None:
    machine = Machine()
    for _ in range(SPANS_KEPT):
        machine.answer()
        machine.message(late=timedelta(hours=2))
    assert machine.time.trouble is None
    wrong = Machine(timedelta(hours=2))
    for _ in range(SPANS_KEPT):
        wrong.answer()
        wrong.message()
    assert wrong.off_seconds() < 2, "the machine has no witness"


def test_a_poll_that_was_not_held_dates_nothing() -> None:
    machine = Machine()
    for _ in range(SPANS_KEPT):
        machine.answer(off=timedelta(hours=2))
        machine.message(held=0.1)
    assert machine.time.trouble is not None


@pytest.mark.parametrize(
    ("skew", "words"),
    [
        (timedelta(seconds=61), "1 min 1 s ahead of"),
        (timedelta(hours=-3), "3 h behind"),
        (timedelta(seconds=2 - 3 * 3600), "3 h behind"),
        (timedelta(minutes=45, seconds=40), "46 min ahead of"),
        (timedelta(days=400, hours=1, minutes=5), "400 d 1 h ahead of"),
        (timedelta(), "0 s behind"),
    ],
)
def test_skew_of_the_clock_is_written_in_words(skew: timedelta, words: str) -> None:
    assert skew_in_words(skew) == f"this machine's clock is {words} Telegram's"
