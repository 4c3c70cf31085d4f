"""Messages that a bug keeps from being rendered hold up no others, in their own chat and elsewhere."""

import pytest
from aiolimiter import AsyncLimiter
from sqlalchemy import update

from bot.sending.pace import Pace
from bot.settings.values import MESSAGES_PER_SECOND_MAX
from db.tables import OutboxMessage
from payments.loop import AWAY_ATTEMPTS_MAX
from payments.pause import Pause
from tests.bot.sending.owed import ADMIN, ANN, BOB, Owed
from tests.support.timings import RESTLESS

pytestmark = pytest.mark.engines("sqlite", "postgresql")


async def test_many_unrendered_messages_of_a_chat_do_not_take_the_places_of_other_chats(owed: Owed) -> None:
    # A look has room for two messages, and none waits for its turn.
    pace = Pace(owed.clock, Pause(owed.clock), RESTLESS, messages_per_second=2)
    pace.limiter = AsyncLimiter(MESSAGES_PER_SECOND_MAX)
    owed.outbox = owed.make_outbox(pace)
    owed.broken = {"1", "2", "3", "4", "5"}
    await owed.owe(ADMIN, *sorted(owed.broken))
    await owed.deliver()
    owed.clock.advance(hours=1)
    await owed.owe(BOB, "6")
    await owed.outbox.deliver_once()
    assert await owed.told(BOB) == ["6"]


async def test_chat_rests_after_no_message_that_was_not_rendered(owed: Owed) -> None:
    owed.outbox = owed.make_outbox(Pace(owed.clock, Pause(owed.clock)))
    owed.broken = {"1"}
    await owed.owe(ANN, "1", "2")
    await owed.deliver()
    assert await owed.told(ANN) == ["2"]


async def test_unrendered_message_that_is_given_up_is_forgotten(owed: Owed) -> None:
    owed.broken = {"1"}
    await owed.owe(ANN, "1")
    async with owed.database.transaction() as session:
        await session.execute(update(OutboxMessage).values(attempts=AWAY_ATTEMPTS_MAX - 2))
    await owed.deliver()
    assert len(owed.outbox._delivery.unrendered) == 1
    owed.clock.advance(hours=2)
    await owed.deliver()
    assert [row.due_at for row in await owed.rows()] == 2 * [None]
    assert owed.outbox._delivery.unrendered == set()


async def test_error_text_that_no_database_takes_is_noted_in_escapes(
    owed: Owed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(*_: object) -> str:
        raise ValueError("a\x00b\ud800")

    monkeypatch.setattr(owed.outbox._delivery, "_render", break_off)
    await owed.owe(ANN, "1")
    await owed.deliver()
    assert [row.error for row in await owed.rows()] == [r"ValueError: a\x00b\ud800"]
