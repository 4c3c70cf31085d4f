"""The state machine over a shop settles every order of events: short in the tests, long by `make soak`."""

import os
import random
import time
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import Databases
from tests.scenarios.state_machine import ShopMachine

pytestmark = pytest.mark.engines("sqlite", "postgresql")

SOAK_MINUTES: Final = float(os.environ.get("SOAK_MINUTES", "0"))
# Without shrinking, which takes minutes: the long run does it.
SHORT: Final = settings(
    max_examples=12,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
LONG: Final = settings(
    SHORT,
    max_examples=20,
    stateful_step_count=60,
    derandomize=False,
    phases=[Phase.generate, Phase.shrink],
    print_blob=True,
)


@pytest.mark.criterion("C3", "R1", "R4", "S8", "E1", "E5")
def test_whatever_happens_it_settles(databases: Databases) -> None:
    ShopMachine.databases = staticmethod(databases)
    run_state_machine_as_test(ShopMachine, settings=SHORT)


@pytest.mark.skipif(not SOAK_MINUTES, reason="the long run is `make soak`")
def test_soak(databases: Databases, capsys: pytest.CaptureFixture[str]) -> None:
    """Run the machine with one seed after the other until the time is over; each is printed before it begins."""
    ShopMachine.databases = staticmethod(databases)
    number = int(os.environ.get("SOAK_SEED") or random.randrange(1 << 32))  # noqa: S311 - a seed, no secret
    ends_at = time.monotonic() + SOAK_MINUTES * 60
    while True:
        with capsys.disabled():
            print(f"\nSOAK_SEED={number}: ", end="", flush=True)  # noqa: T201 - for whoever waits
        run_state_machine_as_test(seed(number)(ShopMachine), settings=LONG)
        with capsys.disabled():
            counts = f"{ShopMachine.runs} runs, {ShopMachine.payments} payments, {ShopMachine.deaths} deaths"
            print(f"{counts}, 0 lost, 0 doubled", flush=True)  # noqa: T201 - the same
        if time.monotonic() >= ends_at:
            return
        number += 1
