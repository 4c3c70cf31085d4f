from hypothesis import given
from hypothesis import strategies as st

from payments.loop import backoff


@given(st.floats(0, 1))
def test_a_backoff_grows_with_the_attempts_up_to_its_bound(jitter: float) -> None:
    pauses = [backoff(attempts, jitter).total_seconds() for attempts in range(1, 30)]
    assert pauses == sorted(pauses)
    assert 5 <= pauses[0] <= 7.5
    assert 3600 <= pauses[-1] <= 5400
