import pytest

from tests.support.clock import FakeClock
from tests.support.desk_fixtures import books

__all__ = ["books"]


@pytest.fixture
def _a_year_later(clock: FakeClock) -> None:
    """Let the desk rebuild a year after the rows of its ledger."""
    clock.advance(days=365)
