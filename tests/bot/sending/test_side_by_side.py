"""The outbox sends to many chats side by side: in order in each, with the outcomes noted in groups."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from bot.sending import outbox as outbox_module
from bot.sending.due_messages import DueMessage
from bot.sending.pace import Pace
from db.engine import Database
from payments.notices import Notice
from payments.pause import Pause
from sandbox.faults import FaultKind
from tests.bot.sending.owed import ADMIN, ANN, BOB, Owed
from tests.support.logs import logged
from tests.support.obstacles import locked, refusing
from tests.support.timings import RESTLESS
from tests.support.waiting import until

pytestmark = pytest.mark.engines("sqlite", "postgresql")

CHATS: Final = (ANN, BOB, ADMIN)
_examples = count()


@asynccontextmanager
async def _running(owed: Owed) -> AsyncIterator[asyncio.Task[None]]:
    """Run the loop of the outbox until the end of the block, which stops it."""
    running = asyncio.create_task(owed.outbox.run())
    try:
        yield running
        owed.outbox.loop.stop()
        await running
    finally:
        running.cancel()


@asynccontextmanager
async def _updates(database: Database) -> AsyncIterator[list[str]]:
    """List the UPDATEs of the outbox in the block; one for many rows counts once."""
    seen: list[str] = []
    engine = database._writer.sync_engine

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE outbox"):
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


async def _until_held(owed: Owed, calls: int) -> None:
    async def are_held() -> bool:
        return (await owed.client.faults()).held == calls

    await until(are_held)


async def _waits_for_its_turn(owed: Owed) -> bool:
    return bool(owed.outbox._pace.limiter._waiters)


async def test_a_call_that_hangs_holds_up_its_own_chat_alone(owed: Owed) -> None:
    await owed.client.add_fault(FaultKind.HOLD, "sendMessage")
    await owed.owe(ANN, "1", "2")
    async with _running(owed):
        await owed.client.wait_until_held()
        await owed.owe(BOB, "3", "4")
        owed.outbox.loop.wake()
        await owed.client.wait_for_text(BOB, "4")
        assert await owed.told(ANN) == []
        await owed.client.release_holds()
        await owed.client.wait_for_text(ANN, "2")
    assert (await owed.told(ANN), await owed.told(BOB)) == (["1", "2"], ["3", "4"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=8)
@given(
    messages=st.lists(
        st.tuples(st.sampled_from(CHATS), st.sampled_from([Notice.REFUND_DONE, Notice.PARKED, Notice.RENEWAL_SOON])),
        min_size=1,
        max_size=8,
    ),
    faults=st.lists(st.sampled_from([FaultKind.SERVER_ERROR, FaultKind.CUT_BEFORE]), max_size=2),
)
async def test_each_chat_gets_its_messages_once_and_in_order(
    owed: Owed, messages: Sequence[tuple[int, Notice]], faults: Sequence[FaultKind]
) -> None:
    example = next(_examples)
    texts = [(chat_id, f"{example}:{number}") for number, (chat_id, _) in enumerate(messages)]
    for fault in faults:
        await owed.client.add_fault(fault, "sendMessage")
    for (chat_id, words), (_, notice) in zip(texts, messages, strict=True):
        await owed.owe(chat_id, words, notice=notice)
    # A failed one is due again after its backoff.
    for _ in range(len(faults) + 1):
        await owed.deliver()
        owed.clock.advance(minutes=1)
    await owed.client.clear_faults()
    for chat_id in CHATS:
        told = [words for words in await owed.told(chat_id) if words.startswith(f"{example}:")]
        assert told == [words for chat, words in texts if chat == chat_id]


async def test_next_message_of_a_chat_goes_after_the_note_of_the_one_before(owed: Owed) -> None:
    # Nobody wakes the loop, and it does not look again by itself.
    pace = Pace(owed.clock, Pause(owed.clock), RESTLESS)
    owed.outbox = owed.make_outbox(pace, idle_seconds=3600)
    await owed.owe(ANN, "1", "2", "3")
    async with _running(owed):
        await owed.client.wait_for_text(ANN, "3")


async def test_messages_that_end_beside_one_another_are_noted_by_one_update(owed: Owed) -> None:
    # So long that the note waits for the end of the calls alone.
    owed.outbox = owed.make_outbox(Pace(owed.clock, Pause(owed.clock), RESTLESS), note_seconds=3600)
    await owed.client.add_fault(FaultKind.HOLD, "sendMessage")
    for chat_id in CHATS:
        await owed.owe(chat_id, "1")
    async with _running(owed), _updates(owed.database) as updates:
        await _until_held(owed, 1)

        async def have_others_ended() -> bool:
            return len(owed.outbox._outcomes) == len(CHATS) - 1

        await until(have_others_ended)
        await owed.client.release_holds()

        async def are_all_noted() -> bool:
            return all(row.sent_at is not None for row in await owed.rows())

        await until(are_all_noted)
    assert len(updates) == 1


@asynccontextmanager
async def _unnoted(owed: Owed, database_url: str) -> AsyncIterator[None]:
    """Let the first message of each chat go out while the database, away in the block, cannot note it."""
    for chat_id in CHATS:
        await owed.owe(chat_id, "1", "2")
    await owed.client.add_fault(FaultKind.HOLD, "sendMessage", count=len(CHATS))
    delivering = asyncio.create_task(owed.outbox.deliver_once())
    await _until_held(owed, len(CHATS))
    async with locked(owed.database, database_url, "outbox"):
        await owed.client.release_holds()
        with pytest.raises(Exception, match=r"(?i)lock"):
            await delivering
        yield


@pytest.mark.criterion("E2")
async def test_messages_sent_while_the_database_is_away_are_not_sent_again(owed: Owed, database_url: str) -> None:
    async with _unnoted(owed, database_url):
        # Nothing else goes out before the database has the notes.
        with pytest.raises(Exception, match=r"(?i)lock"):
            await owed.outbox.deliver_once()
    assert [await owed.told(chat_id) for chat_id in CHATS] == 3 * [["1"]]
    await owed.deliver()
    assert [await owed.told(chat_id) for chat_id in CHATS] == 3 * [["1", "2"]]


async def test_a_crash_before_the_note_repeats_the_messages_under_way_and_no_other(
    owed: Owed, database_url: str
) -> None:
    async with _unnoted(owed, database_url):
        pass
    # The next process.
    owed.outbox = owed.next_outbox()
    await owed.deliver()
    assert [await owed.told(chat_id) for chat_id in CHATS] == 3 * [["1", "1", "2"]]


async def test_a_stop_finishes_and_notes_the_calls_under_way(owed: Owed) -> None:
    await owed.client.add_fault(FaultKind.HOLD, "sendMessage", count=2)
    await owed.owe(ANN, "1", "2")
    await owed.owe(BOB, "3")
    async with _running(owed) as running:
        await _until_held(owed, 2)
        owed.outbox.loop.stop()
        owed.outbox.loop.wake()
        await owed.client.release_holds()
        await running
    assert [row.sent_at is not None for row in await owed.rows()] == [True, False, True]


async def test_an_end_at_the_deadline_leaves_no_call_behind(owed: Owed) -> None:
    await owed.client.add_fault(FaultKind.HOLD, "sendMessage")
    await owed.owe(ANN, "1")
    running = asyncio.create_task(owed.outbox.run())
    await owed.client.wait_until_held()
    running.cancel()
    await asyncio.wait({running})
    assert owed.outbox._calls == set()
    await owed.client.release_holds()


@pytest.mark.parametrize("event_meanwhile", ["stop", "pause"])
async def test_messages_that_wait_for_their_turn_are_held(owed: Owed, event_meanwhile: str) -> None:
    pause = Pause(owed.clock)
    owed.outbox = owed.make_outbox(Pace(owed.clock, pause, RESTLESS, messages_per_second=1))
    await owed.outbox._pace.limiter.acquire()
    for chat_id in CHATS:
        await owed.owe(chat_id, "1")
    delivering = asyncio.create_task(owed.outbox.deliver_once())
    await until(partial(_waits_for_its_turn, owed))
    if event_meanwhile == "stop":
        owed.outbox.loop.stop()
    else:
        pause.ask(30)
    assert await delivering == 0
    assert await owed.client.calls("sendMessage") == []


async def test_no_more_calls_are_under_way_than_the_bound(owed: Owed) -> None:
    owed.outbox = owed.make_outbox(Pace(owed.clock, Pause(owed.clock), RESTLESS), under_way_max=2)
    await owed.client.add_fault(FaultKind.HOLD, "sendMessage", count=3)
    for chat_id in CHATS:
        await owed.owe(chat_id, "1")
    async with _running(owed):
        await _until_held(owed, 2)
        assert await owed.outbox._begin_due() == (0, False)
        assert len(owed.outbox._busy) == 2
        await owed.client.clear_faults()
        await owed.client.release_holds()
        for chat_id in CHATS:
            await owed.client.wait_for_text(chat_id, "1")


async def test_message_noted_while_a_look_waits_for_its_turn_is_not_sent_again(owed: Owed) -> None:
    pace = Pace(owed.clock, Pause(owed.clock), RESTLESS, messages_per_second=2)
    owed.outbox = owed.make_outbox(pace)
    await owed.owe(ANN, "1")
    await owed.client.add_fault(FaultKind.HOLD, "sendMessage")
    async with _running(owed):
        await owed.client.wait_until_held()
        # Read beside Ann's message, and ahead of it.
        await owed.owe(BOB, "2", notice=Notice.REFUND_DONE)
        await pace.limiter.acquire()
        owed.outbox.loop.wake()
        await until(partial(_waits_for_its_turn, owed))
        await owed.client.release_holds()
        await owed.client.wait_for_text(BOB, "2")
        await owed.owe(ADMIN, "3")
        owed.outbox.loop.wake()
        await owed.client.wait_for_text(ADMIN, "3")
    assert await owed.told(ANN) == ["1"]


async def test_note_that_the_database_refuses_takes_no_others_along(owed: Owed) -> None:
    await owed.client.add_fault(FaultKind.HOLD, "sendMessage", count=len(CHATS))
    for chat_id in CHATS:
        await owed.owe(chat_id, "1")
    async with refusing(owed.database, "UPDATE", "outbox", when=f"NEW.chat_id = {BOB}"):
        delivering = asyncio.create_task(owed.outbox.deliver_once())
        await _until_held(owed, len(CHATS))
        await owed.client.release_holds()
        with pytest.raises(DBAPIError, match="no"):
            await delivering
    assert {row.chat_id for row in await owed.rows() if row.sent_at is None} == {BOB}


async def test_bug_that_ends_the_loop_leaves_no_message_unnoted(owed: Owed, monkeypatch: pytest.MonkeyPatch) -> None:
    await owed.client.add_fault(FaultKind.HOLD, "sendMessage")
    await owed.owe(ANN, "1")
    running = asyncio.create_task(owed.outbox.run())
    await owed.client.wait_until_held()
    is_broken = asyncio.Event()

    async def break_off(*_: object) -> Sequence[DueMessage]:
        is_broken.set()
        raise ZeroDivisionError

    monkeypatch.setattr(outbox_module, "read_due", break_off)
    owed.outbox.loop.wake()
    await is_broken.wait()
    await owed.client.release_holds()
    with pytest.raises(ZeroDivisionError):
        await running
    assert [row.sent_at is not None for row in await owed.rows()] == [True]


async def test_stop_notes_what_is_sent_when_the_database_is_back_in_a_moment(owed: Owed, database_url: str) -> None:
    await owed.client.add_fault(FaultKind.HOLD, "sendMessage", count=len(CHATS))
    for chat_id in CHATS:
        await owed.owe(chat_id, "1")
    async with _running(owed) as running:
        await _until_held(owed, len(CHATS))
        with logged("INFO") as records:

            async def is_tried_again() -> bool:
                return any("tried again" in record["message"] for record in records)

            async with locked(owed.database, database_url, "outbox"):
                owed.outbox.loop.stop()
                await owed.client.release_holds()
                await until(is_tried_again)
        await running
    assert [row.sent_at is not None for row in await owed.rows()] == 3 * [True]
