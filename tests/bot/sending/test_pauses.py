"""The moments of sending: within Telegram's limits, and with growing backoff."""

import asyncio

import pytest

from bot.sending.pace import Pace
from db.clock import utc_now
from db.timings import Timings
from payments.pause import Pause
from sandbox.faults import FaultKind
from tests.bot.sending.owed import ANN, BOB, Owed
from tests.support.timings import RESTLESS


@pytest.mark.criterion("E1")
async def test_a_pause_that_telegram_asks_for_is_kept(owed: Owed) -> None:
    await owed.owe(ANN, "1", "2")
    await owed.client.add_fault(FaultKind.RETRY_AFTER, "sendMessage", retry_after_seconds=33)
    await owed.deliver()
    await owed.owe(BOB, "3")
    owed.clock.advance(seconds=32)
    await owed.deliver()
    assert (await owed.told(ANN), await owed.told(BOB)) == ([], [])
    assert len(await owed.client.calls("sendMessage")) == 1
    owed.clock.advance(seconds=1)
    await owed.deliver()
    assert (await owed.told(ANN), await owed.told(BOB)) == (["1", "2"], ["3"])
    # It was no failure: it would count towards giving up.
    assert [row.attempts for row in await owed.rows()] == [0, 0, 0]


async def test_a_pause_that_somebody_else_was_asked_for_is_kept_too(owed: Owed) -> None:
    pause = Pause(owed.clock)
    owed.outbox = owed.make_outbox(Pace(owed.clock, pause))
    await owed.owe(ANN, "1")
    pause.ask(7)
    await owed.deliver()
    assert await owed.client.calls("sendMessage") == []
    owed.clock.advance(seconds=7)
    await owed.deliver()
    assert await owed.told(ANN) == ["1"]


async def test_a_chat_is_written_to_once_a_second_and_a_group_every_three(owed: Owed) -> None:
    group = await owed.client.add_group("Desk", member_ids=[ANN], admin_ids=[ANN])
    for chat_id in (ANN, BOB, group.id):
        await owed.owe(chat_id, *"123456")
    owed.outbox = owed.make_outbox(Pace(owed.clock, Pause(owed.clock)))
    seen = []
    for _ in range(5):
        await owed.deliver()
        seen.append([len(await owed.told(chat_id)) for chat_id in (ANN, BOB, group.id)])
        owed.clock.advance(seconds=1)
    assert seen == [[1, 1, 1], [2, 2, 1], [3, 3, 1], [4, 4, 2], [5, 5, 2]]
    # Nor is anybody silenced by a clock that is set back.
    owed.clock.advance(seconds=-2)
    await owed.deliver()
    assert len(await owed.told(ANN)) == 6


async def test_chat_that_pauses_alone_does_not_take_the_only_place_of_others(owed: Owed) -> None:
    pause = Pause(owed.clock)
    owed.outbox = owed.make_outbox(Pace(owed.clock, pause, RESTLESS, messages_per_second=1))
    pause.ask_of_chat(ANN, 30)
    await owed.owe(ANN, "1")
    await owed.owe(BOB, "2")
    assert await owed.outbox.deliver_once() == 1
    assert await owed.told(BOB) == ["2"]


async def test_notice_goes_out_when_its_chats_rest_is_over(owed: Owed) -> None:
    pace = Pace(utc_now, Pause(utc_now), Timings(chat_rest_seconds=0.05))
    owed.outbox = owed.make_outbox(pace, utc_now, idle_seconds=3600)
    await owed.owe(ANN, "1", "2", "3")
    running = asyncio.create_task(owed.outbox.run())
    await owed.client.wait_for_text(ANN, "3")
    owed.outbox.loop.stop()
    await running


@pytest.mark.criterion("E1")
@pytest.mark.parametrize("fault", [FaultKind.CUT_BEFORE, FaultKind.SERVER_ERROR])
async def test_failed_notice_is_retried_in_order_with_growing_backoff(owed: Owed, fault: FaultKind) -> None:
    await owed.owe(ANN, "1", "2")
    pauses = []
    for _ in range(3):
        await owed.client.add_fault(fault, "sendMessage")
        await owed.deliver()
        due_at = (await owed.rows())[0].due_at
        assert due_at is not None
        pauses.append((due_at - owed.clock()).total_seconds())
        # Another chat does not wait for this one.
        await owed.owe(BOB, str(len(pauses)))
        await owed.deliver()
        assert len(await owed.told(BOB)) == len(pauses)
        owed.clock.now = due_at
    assert 0 < pauses[0] < pauses[1] < pauses[2]
    assert await owed.told(ANN) == []
    await owed.deliver()
    assert await owed.told(ANN) == ["1", "2"]
