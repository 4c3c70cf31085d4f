"""The real daemon in a process of its own, killed at its n-th step.

A step is where the world outside of the process may be another than at the step before: before each statement that
writes, before and after each commit of one, before and after each HTTP call. A death beside a statement that reads
leaves what the last step left, and what a statement writes is nobody's before its commit, so that a death after it is
one before the next step. Steps are counted from outside; production code knows nothing of them. The process is forked
(tests/support/forkserver.py).
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from loguru import logger
from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine
from sqlalchemy.engine.default import DefaultDialect

from bot.calls.bounded_session import BoundedSession
from bot.desk.app import run_desk
from bot.settings import Settings
from db.timings import Timings
from tests.support.forkserver import FORKSERVER

NEVER = 0
CHANGES_NOTHING = ("SELECT", "PRAGMA")
STOP_SECONDS = 10
"""The daemon promises to end within ten seconds of a SIGTERM (bot/__main__.py, run)."""


class _Steps:
    """Counts steps once armed, and kills the process at the given one."""

    def __init__(self, kill_at: int, names: Any) -> None:
        self._kill_at = kill_at
        self._passed = 0
        self._names = names
        self.is_armed = False

    def step(self, name: str) -> None:
        if not self.is_armed:
            return
        self._passed += 1
        self._names.put(name)
        if self._passed == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def _hook_database(steps: _Steps) -> None:
    have_written: set[Any] = set()

    @event.listens_for(Engine, "before_cursor_execute")
    def _before(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(CHANGES_NOTHING):
            have_written.add(connection.connection)
            steps.step(f"before {statement[:60]}")

    do_commit: Callable[[DefaultDialect, Any], None] = DefaultDialect.do_commit

    def counted_commit(self: DefaultDialect, connection: Any) -> None:
        if connection not in have_written:
            do_commit(self, connection)
            return
        have_written.remove(connection)
        steps.step("before commit")
        do_commit(self, connection)
        steps.step("after commit")

    DefaultDialect.do_commit = counted_commit  # type: ignore[method-assign]  # the hook around every commit


def _hook_telegram(steps: _Steps, arms: Callable[[Any], bool]) -> None:
    make_request = BoundedSession.make_request

    async def counted_request(self: BoundedSession, bot: Any, method: Any, timeout: int | None = None) -> Any:  # noqa: ASYNC109 - aiogram's signature
        name = type(method).__name__
        steps.step(f"before {name}")
        answer = await make_request(self, bot, method, timeout)
        if arms(answer):
            steps.is_armed = True
        steps.step(f"after {name}")
        return answer

    BoundedSession.make_request = counted_request  # type: ignore[method-assign]  # the hook around every call


def brings_money(answer: Any) -> bool:
    """Arm when an update with a payment arrives."""
    return isinstance(answer, list) and any(
        isinstance(each, dict) and "successful_payment" in each.get("message", {}) for each in answer
    )


def brings_refund_command(answer: Any) -> bool:
    """Arm when an admin's /refund arrives."""
    return isinstance(answer, list) and any(
        isinstance(each, dict) and str(each.get("message", {}).get("text", "")).startswith("/refund") for each in answer
    )


def _live(environment: dict[str, str], kill_at: int, names: Any, arms: Callable[[Any], bool]) -> None:
    steps = _Steps(kill_at, names)
    _hook_database(steps)
    _hook_telegram(steps, arms)
    os.environ.update(environment)
    logger.remove()
    # A second's rest from message to message would be most of each life.
    asyncio.run(run_desk(Settings.load(), Timings(chat_rest_seconds=0)))


@dataclass
class Victim:
    """One life of the daemon."""

    process: Any
    _names: Any

    def names(self) -> list[str]:
        """Return the steps that it took since it was armed, in their order; a killed one died at the last."""
        names = []
        while not self._names.empty():
            names.append(self._names.get())
        return names

    @property
    def is_alive(self) -> bool:
        return bool(self.process.is_alive())

    @property
    def exit_code(self) -> int | None:
        code: int | None = self.process.exitcode
        return code

    async def stop(self) -> int | None:
        """Send SIGTERM and wait for the end, ten seconds at most; the sandbox goes on meanwhile."""
        if self.process.is_alive():
            self.process.terminate()
        await asyncio.to_thread(self.process.join, STOP_SECONDS)
        return self.exit_code


@contextmanager
def living(
    environment: dict[str, str], *, kill_at: int = NEVER, arms: Callable[[Any], bool] = brings_money
) -> Iterator[Victim]:
    """Run the daemon beside the block; it dies by SIGKILL at the given step after it was armed."""
    names = FORKSERVER.SimpleQueue()
    process = FORKSERVER.Process(target=_live, args=(environment, kill_at, names, arms))
    process.start()
    victim = Victim(process, names)
    try:
        yield victim
    finally:
        if process.is_alive():
            process.kill()
        process.join()
