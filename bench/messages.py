"""Bench figure of the outbox: the question of what is due, while 20,000 messages are.

The outbox was analysed while nothing was due, as autovacuum leaves it between two rushes: its statistics say that no
message ever waits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Final

from sqlalchemy import Engine, event

from bench.engines import fresh_database
from bench.measurements import Figure
from bench.multiplied import multiply
from db.clock import utc_now
from db.errors import is_away
from payments.notices import Notice, owe
from tests.support.bots import talking_bot
from tests.support.desk import wired
from tests.support.money import TOKEN

DUE: Final = 20_000
SENT: Final = 1_000
QUESTION_SECONDS_MAX: Final = 0.1
_FIRST_CHAT: Final = 7_000_000
_NOBODY: Final = "http://127.0.0.1:9"
"""An address at which no Telegram answers: the question is measured, and not the sending."""


async def measure(engine: str) -> list[Figure]:
    """Measure the bench figure of a batch of due messages on one engine."""
    note = ""
    async with fresh_database(engine) as database, talking_bot(_NOBODY, TOKEN) as bot:
        outbox = wired(database, utc_now, bot).outbox
        async with database.transaction() as session:
            facts = {"charge_id": "charge", "amount": 200, "currency": "XTR"}
            await owe(session, Notice.WAITING, event_id="charge", chat_id=_FIRST_CHAT, facts=facts, now=utc_now())
        copies = {"event_id": "'c-' || i", "chat_id": f"{_FIRST_CHAT + 1} + i"}
        sent = {"event_id": "'s-' || i", "due_at": "NULL", "sent_at": "original.created_at"}
        await multiply(database, {"outbox": copies | sent}, {"outbox": SENT})
        async with database.migration() as connection:
            await connection.exec_driver_sql("UPDATE outbox SET due_at = NULL")
            await connection.exec_driver_sql("ANALYZE")
            await connection.exec_driver_sql("UPDATE outbox SET due_at = created_at WHERE sent_at IS NULL")
        await multiply(database, {"outbox": copies}, {"outbox": DUE - 1}, "sent_at IS NULL")
        with _timed_questions() as questions:
            began = perf_counter()
            try:
                await outbox.deliver_once()
            except Exception as error:
                if not is_away(error):
                    raise
                questions.append(perf_counter() - began)
                note = "it failed"
    what = f"{DUE:,} due messages, the question of a batch"
    return [Figure(what, engine, sum(questions), "s", QUESTION_SECONDS_MAX, note)]


@contextmanager
def _timed_questions() -> Iterator[list[float]]:
    """Collect the seconds of the SELECTs on the outbox in the block."""
    seconds: list[float] = []

    def before(connection: Any, *_: Any) -> None:
        connection.info["began"] = perf_counter()

    def after(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH")) and "outbox" in statement:
            seconds.append(perf_counter() - connection.info["began"])

    event.listen(Engine, "before_cursor_execute", before)
    event.listen(Engine, "after_cursor_execute", after)
    try:
        yield seconds
    finally:
        event.remove(Engine, "before_cursor_execute", before)
        event.remove(Engine, "after_cursor_execute", after)
