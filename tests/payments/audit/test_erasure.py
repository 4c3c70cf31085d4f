"""Erasure of a person: the data that goes, the data that stays, and names that do not come back."""

import json
from typing import Any

import pytest
from sqlalchemy import select, text, update

from db.tables import Base, EntitlementGrant, OutboxMessage, QuarantinedUpdate, StripeEvent, User
from entitlements.by_hand import grant_by_hand, revoke_by_hand
from payments.audit import events
from payments.audit.erasure import Erased, erase
from payments.audit.facts import Person
from payments.audit.history import asked_before
from payments.notices import Admins, Notice, owe
from payments.recording.quarantine import quarantine_update
from payments.refunds import requests
from tests.support.desk import Desk, dump
from tests.support.money import BUYER, STRANGER, charge, charge_update, refund
from tests.support.rows import add_other_services_event

pytestmark = pytest.mark.engines("sqlite", "postgresql")

TEXTS = ("Sophie_Doe", "secret-of-hers", "of-no-one-else", "Lane 7")


async def _live_through_everything(desk: Desk) -> None:
    """Let a person leave traces wherever there is a place for them."""
    person = Person(BUYER.telegram_id, TEXTS[0], "fr")
    await desk.take(charge("c1", payer=person))
    await desk.take(charge("c2", payer=person))
    await desk.take(charge("c3", payer=STRANGER))
    for charge_id in ("c1", "c3"):
        async with desk.database.transaction() as session:
            reason = TEXTS[1] if charge_id == "c1" else "of another"
            await requests.request_refund(
                session, charge_id, reason=reason, requested_by="cli:x", reply_chat_id=77, now=desk.clock()
            )
    await desk.take(refund(charge("c1", payer=person)))
    user_id = await desk.user_id()
    async with desk.database.transaction() as session:
        now = desk.clock()
        await grant_by_hand(session, user_id, "premium", days=3, actor="cli:x", reason=TEXTS[1], now=now)
        await revoke_by_hand(session, user_id, "premium", source=None, actor="cli:x", reason=TEXTS[1], now=now)
        paid = charge_update(charge("c4", payer=person))
        paid["message"]["from"]["first_name"] = TEXTS[2]
        paid["message"]["successful_payment"]["order_info"] = {"shipping_address": TEXTS[3]}
        await quarantine_update(session, paid, "odd", Admins((77,)), desk.clock())
        changed = {"user": paid["message"]["from"], "invoice_payload": "x", "state": "odd"}
        await quarantine_update(session, {"update_id": 9, "subscription": changed}, "odd", Admins((77,)), desk.clock())
        await quarantine_update(
            session, charge_update(charge("c5", payer=STRANGER)), "odd", Admins((77,)), desk.clock()
        )


async def _erase(desk: Desk) -> Erased | None:
    async with desk.database.transaction() as session:
        return await erase(session, BUYER.telegram_id, desk.clock())


async def test_the_name_and_every_text_are_gone_and_the_sums_add_up(desk: Desk) -> None:
    await _live_through_everything(desk)
    await desk.deliver()
    sums = text(
        "SELECT currency, event_type, count(*), sum(amount_cents) FROM stripe_events GROUP BY 1, 2 ORDER BY 1, 2"
    )
    async with desk.database.reading() as session:
        before = await dump(session)
        money = (await session.execute(sums)).all()
    assert all(each in repr(before) for each in TEXTS), "there was something to erase"
    erased = await _erase(desk)
    assert erased is not None
    assert (erased.reasons, erased.grant_reasons, erased.updates, erased.kept_events) == (1, 4, 2, 3)
    async with desk.database.reading() as session:
        after = await dump(session)
        assert (await session.execute(sums)).all() == money
        assert await session.scalar(select(User.telegram_id).where(User.erased_at.is_not(None))) == BUYER.telegram_id
    assert not [each for each in TEXTS if each in repr(after)]
    assert {table: len(rows) for table, rows in after.items()} == {table: len(rows) for table, rows in before.items()}
    assert "of another" in repr(after), "another person's texts stay"
    assert len(after) == len(Base.metadata.tables)


async def test_an_update_in_quarantine_keeps_its_money(desk: Desk) -> None:
    await _live_through_everything(desk)
    await _erase(desk)
    async with desk.database.reading() as session:
        rows = [json.loads(row.raw) for row in await session.scalars(select(QuarantinedUpdate))]
    [changed] = [row["subscription"] for row in rows if "subscription" in row]
    assert changed == {"user": {"id": BUYER.telegram_id, "is_bot": False}, "invoice_payload": "x", "state": "odd"}
    kept = {row["message"]["from"]["id"]: row["message"] for row in rows if "message" in row}
    assert kept[BUYER.telegram_id]["from"] == {"id": BUYER.telegram_id, "is_bot": False}
    assert kept[BUYER.telegram_id]["successful_payment"]["telegram_payment_charge_id"] == "c4"
    assert kept[STRANGER.telegram_id]["from"]["username"] == STRANGER.username


async def test_unsent_notice_goes_out_without_the_erased_reason(desk: Desk) -> None:
    await _live_through_everything(desk)
    await _erase(desk)
    due = [facts for _, chat_id, facts in await desk.notices("refund:c1") if chat_id == BUYER.telegram_id]
    assert [facts["reason"] for facts in due] == [None]
    assert due[0]["charge_id"] == "c1"


@pytest.mark.criterion("R7")
async def test_notices_about_stripe_objects_are_erased_by_their_buyer(desk: Desk) -> None:
    await desk.take(charge())
    fits = [{"buyer": STRANGER.telegram_id, "title": "A month"}, {"buyer": BUYER.telegram_id, "title": TEXTS[1]}]
    others = f"{BUYER.telegram_id}1"
    owed: dict[str, tuple[Notice, dict[str, Any]]] = {
        "stripe:dp_1": (Notice.DISPUTED, {"buyer": BUYER.telegram_id, "reason": TEXTS[1]}),
        "stripe:lost:ch_1": (Notice.LOST_PAYMENT, {"fits": fits}),
        "stripe:dp_2": (Notice.DISPUTED, {"buyer": int(others), "reason": "of another"}),
    }
    async with desk.database.transaction() as session:
        for key, (notice, facts) in owed.items():
            await owe(session, notice, event_id=key, chat_id=77, facts=facts, now=desk.clock())
    await desk.deliver()
    erased = await _erase(desk)
    assert erased is not None
    async with desk.database.reading() as session:
        rows = await session.scalars(select(OutboxMessage).where(OutboxMessage.chat_id == 77))
        told = {row.event_id: row.facts for row in rows if row.event_id in owed}
    assert told == {"stripe:dp_1": "{}", "stripe:lost:ch_1": "{}", "stripe:dp_2": json.dumps(owed["stripe:dp_2"][1])}


@pytest.mark.criterion("R7")
async def test_no_later_update_brings_the_name_back(desk: Desk) -> None:
    await _live_through_everything(desk)
    await _erase(desk)
    await desk.take(charge("c6", payer=Person(BUYER.telegram_id, TEXTS[0], "fr")))
    async with desk.database.reading() as session:
        user = (await session.scalars(select(User).where(User.telegram_id == BUYER.telegram_id))).one()
    assert (user.username, user.language_code) == (None, None)
    assert await desk.holds()


async def test_erasing_twice_changes_nothing_and_of_nobody_nothing(desk: Desk) -> None:
    await _live_through_everything(desk)
    await desk.deliver()
    await _erase(desk)
    async with desk.database.reading() as session:
        first = await dump(session)
    again = await _erase(desk)
    assert again == Erased(0, 0, 0, 0, 3)
    async with desk.database.reading() as session:
        assert await dump(session) == first
    async with desk.database.transaction() as session:
        assert await erase(session, 999, desk.clock()) is None


@pytest.mark.criterion("I5")
async def test_why_a_refund_was_asked_for_before_is_erased_and_who_asked_stays(desk: Desk) -> None:
    await desk.take(charge())
    await desk.request_refund("charge-1")
    async with desk.database.transaction() as session:
        parked = await events.lock(session, "refund:charge-1")
        assert parked is not None
        await desk.settlement.parking.park(session, parked, "BALANCE_TOO_LOW")
        await requests.request_refund(
            session, "charge-1", reason=TEXTS[1], requested_by="cli:x", reply_chat_id=None, now=desk.clock()
        )
    await _erase(desk)
    erased = await desk.event("refund:charge-1")
    assert (erased.reason, asked_before(erased)) == ("", [("telegram:42", "")])


async def test_another_services_row_of_the_person_is_left_alone(desk: Desk) -> None:
    await desk.take(charge())
    async with desk.database.transaction() as session:
        await add_other_services_event(session, "another's", await desk.user_id())
        theirs = update(StripeEvent).where(StripeEvent.event_id == "another's")
        await session.execute(theirs.values(reason="of no one else"))
    erased = await _erase(desk)
    assert erased is not None
    assert (erased.reasons, erased.kept_events) == (0, 1)
    assert (await desk.event("another's")).reason == "of no one else"


async def test_access_and_its_grants_stay(desk: Desk) -> None:
    await desk.take(charge())
    await _erase(desk)
    assert await desk.holds()
    async with desk.database.reading() as session:
        assert len((await session.scalars(select(EntitlementGrant))).all()) == 1
        assert len((await session.scalars(select(StripeEvent))).all()) == 1
