"""Coverage at half its price: a tracer for each greenlet, and none for tests that repeat others.

coverage.py asks at each call and return in every library which greenlet runs, because SQLAlchemy awaits in greenlets:
the tests of money took 2.3 times their own time by it. Here a switch between greenlets changes the tracer instead, and
the same lines and branches are seen.
"""

import sys
import threading
from typing import Any, Final

import greenlet  # type: ignore[import-untyped]  # ships no types
import pytest

_DATABASE_TESTS: Final = "tests/db/"


def follow_greenlets() -> None:
    """Give each greenlet of this thread a tracer of its own; do nothing unless coverage's C tracer runs."""
    tracer: Any = sys.gettrace()
    if not hasattr(tracer, "concur_id_func"):
        return
    tracer.concur_id_func = None
    idle: list[Any] = []

    def switch(_: str, both: tuple[greenlet.greenlet, greenlet.greenlet]) -> None:
        origin, target = both
        running: Any = sys.gettrace()
        if running is None:
            # coverage is paused.
            return
        if origin.parent is not None:
            if not origin.dead:
                # On the greenlet itself, so that nothing keeps one that is let go of.
                vars(origin)["tracer"] = running
            elif hasattr(running, "concur_id_func"):
                running.concur_id_func = None
                idle.append(running)
        if target.parent is None:
            sys.settrace(tracer)
        else:
            # The one for new threads makes a tracer at the first call that it sees.
            sys.settrace(vars(target).get("tracer") or (idle.pop() if idle else threading.gettrace()))

    greenlet.settrace(switch)


def is_repeat(item: pytest.Item) -> bool:
    """Tell whether a test goes once more where others have been, so that coverage learns nothing from it.

    Such a test repeats one above db/ on PostgreSQL, or lets hypothesis try many examples.
    """
    if not isinstance(item, pytest.Function):
        return False
    engines = item.get_closest_marker("engines")
    engine = item.callspec.params.get("engine_name") if hasattr(item, "callspec") else None
    is_second = engines is not None and engine not in {None, engines.args[0]}
    is_property = getattr(item.obj, "is_hypothesis_test", False)
    return is_property or (is_second and not item.nodeid.startswith(_DATABASE_TESTS))
