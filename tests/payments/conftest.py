import pytest

from db.engine import Database
from tests.support.clock import FakeClock
from tests.support.desk import Desk


@pytest.fixture
def desk(database: Database, clock: FakeClock) -> Desk:
    return Desk(database, clock)
