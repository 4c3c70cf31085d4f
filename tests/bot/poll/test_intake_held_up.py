"""A payment that cannot be recorded now, or never, holds up the offset at most, and no other user."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiogram import Bot
from aiogram.types import Update

from bot.poll.intake import Intake
from bot.poll.lanes import Lanes
from db.engine import Database
from db.timings import Timings
from payments.audit.facts import Fact
from payments.recording.recorder import Recorder
from tests.bot.poll.on_record import quarantined_ids, recorded_ids
from tests.support.clock import FakeClock
from tests.support.money import ADMINS, BUYER, STRANGER, TOKEN, charge, charge_update
from tests.support.obstacles import locked_user, refusing
from tests.support.rows import add_user
from tests.support.waiting import WAIT_SECONDS

HASTY = Timings(lock_wait_seconds=0.05, same_offset_pause_seconds=0)


class Taking:
    """An intake that is given batches; `served` is what got to a handler."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.served: list[str] = []
        self.lanes = Lanes(self._serve, on_full=lambda: None)
        self.lanes.start()
        recorder = Recorder(database, FakeClock(), ADMINS, record_seconds=WAIT_SECONDS)
        self.intake = Intake(Bot(TOKEN), recorder, self.lanes, HASTY)

    async def _serve(self, update: Update, fact: Fact | None) -> None:
        if fact is not None:
            self.served.append(fact.event_id)
        elif update.message is not None:
            self.served.append(update.message.text or "")

    async def take(self, *batch: dict[str, Any]) -> int | None:
        """Take a batch, let all that it holds be served, and return the next offset."""
        await self.intake.take(batch)
        await self.lanes.close(WAIT_SECONDS)
        self.lanes.start()
        return self.intake._offset

    async def on_record(self) -> set[str]:
        return await recorded_ids(self.database)

    async def quarantined(self) -> list[int]:
        return await quarantined_ids(self.database)


@pytest.fixture
async def taking(postgresql_url: str, open_database: Callable[..., Database]) -> AsyncIterator[Taking]:
    made = Taking(open_database(postgresql_url, HASTY))
    yield made
    await made.lanes.close(WAIT_SECONDS)


def _message(update_id: int, text: str) -> dict[str, Any]:
    sender = {"id": BUYER.telegram_id, "is_bot": False, "first_name": "Ann"}
    chat = {"id": BUYER.telegram_id, "type": "private", "first_name": "Ann"}
    message = {"message_id": 1, "date": 1772366400, "from": sender, "chat": chat, "text": text}
    return {"update_id": update_id, "message": message}


@pytest.mark.criterion("C1", "E2")
async def test_a_locked_users_payment_waits_at_telegram_and_all_others_are_served_once(
    taking: Taking, postgresql_url: str
) -> None:
    async with taking.database.transaction() as session:
        await add_user(session, BUYER.telegram_id)
    before, behind = _message(6, "before"), _message(9, "behind")
    held, other = charge_update(charge("held"), 7), charge_update(charge("other", payer=STRANGER), 8)
    async with locked_user(postgresql_url, BUYER.telegram_id):
        assert await taking.take(before, held, other, behind) == 7
        assert await taking.on_record() == {"other"}
        assert sorted(taking.served) == ["before", "behind", "other"]
        # The lanes do not serve a repeated update again, and they serve a new one.
        new = charge_update(charge("new", payer=STRANGER), 10)
        assert await taking.take(held, other, behind, new) == 7
        assert await taking.on_record() == {"other", "new"}
        assert sorted(taking.served) == ["before", "behind", "new", "other"]
    assert await taking.take(held, other, behind, new) == 11
    assert await taking.on_record() == {"held", "other", "new"}
    assert sorted(taking.served) == ["before", "behind", "held", "new", "other"]
    assert await taking.quarantined() == []


@pytest.mark.criterion("E3")
async def test_charge_refused_by_a_foreign_trigger_goes_to_quarantine(taking: Taking) -> None:
    bad, good = charge_update(charge("bad"), 7), charge_update(charge("good"), 8)
    async with refusing(taking.database, "INSERT", "stripe_events", when="NEW.event_id = 'bad'", sqlstate="P0001"):
        assert await taking.take(bad, good, _message(9, "behind")) == 10
    assert await taking.quarantined() == [7]
    assert await taking.on_record() == {"good"}
    assert sorted(taking.served) == ["behind", "good"]
