"""A row of `entitlement_grants` under a source of ours that contradicts the desk's grant."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import insert, select

from db.states import EventOutcome
from db.tables import EntitlementGrant, User, new_id
from entitlements.by_hand import revoke_by_hand
from entitlements.service import DaysGranted, EntitlementService
from payments.ledger.plain import settle_plain_payments
from payments.notices import Notice
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import ADMIN_CHAT_ID, BUYER, CATALOG, SIGNER, STRANGER, charge, refund
from tests.support.subscription_facts import MONTH, follow, paid, rows, said, tell

DAY = timedelta(days=1)
OURS = {"granted_at": START, "duration_days": 30, "ends_at": None, "revoked_at": None}
OTHERS = [
    pytest.param("stranger", {}, "another user's", id="another user"),
    pytest.param("buyer", {"duration_days": 7}, "for 7 days, not for 30 days", id="other days"),
    pytest.param("buyer", {"duration_days": None}, "for ever, not for 30 days", id="for life"),
    pytest.param("buyer", {"duration_days": None, "ends_at": START + DAY}, "until 2026-03-02", id="dated"),
    pytest.param("buyer", {"revoked_at": START}, "revoked at 2026-03-01", id="revoked"),
    pytest.param("buyer", {"granted_at": START - 90 * DAY}, "begins at 2025-12-01", id="begun before"),
]


async def _users(desk: Desk) -> dict[str, str]:
    """Make both known, and return their ids."""
    await desk.take(charge("makes the buyer known", "life", payload="another program's"))
    await desk.take(charge("makes a stranger known", "life", payer=STRANGER, payload="another program's"))
    return {"buyer": await desk.user_id(), "stranger": await desk.user_id(STRANGER)}


async def _write(desk: Desk, user_id: str, source: str, entitlement_type: str = "premium", **terms: object) -> None:
    """Write a grant as another program does."""
    row = {"id": new_id(), "user_id": user_id, "source": source, "entitlement_type": entitlement_type}
    async with desk.database.transaction() as session:
        await session.execute(insert(EntitlementGrant), row | OURS | terms)


async def _grants(desk: Desk, user_id: str) -> list[tuple[str, str, datetime | None]]:
    query = select(EntitlementGrant).where(EntitlementGrant.user_id == user_id)
    async with desk.database.reading() as session:
        found = await session.scalars(query.order_by(EntitlementGrant.source, EntitlementGrant.entitlement_type))
        return [(grant.source, grant.entitlement_type, grant.revoked_at) for grant in found]


@pytest.mark.parametrize(("whose", "terms", "said_of_it"), OTHERS)
@pytest.mark.parametrize("code", ["month", "bundle"])
async def test_a_charge_in_whose_place_another_grant_stands_is_parked(
    desk: Desk, code: str, whose: str, terms: dict[str, object], said_of_it: str
) -> None:
    users = await _users(desk)
    await desk.deliver()
    await _write(desk, users[whose], "telegram_stars:X", "premium" if code == "month" else "archive", **terms)
    event = await desk.take(charge("X", code))
    assert event.outcome == EventOutcome.PARKED
    assert said_of_it in (event.error or "")
    told = await desk.told("X")
    assert told == [(Notice.PARKED, ADMIN_CHAT_ID), (Notice.WAITING, BUYER.telegram_id)]
    mine = [each for each in await _grants(desk, users["buyer"]) if whose != "buyer"]
    assert mine == [], "nothing is granted by halves"


@pytest.mark.parametrize("code", ["month", "bundle", "life"])
async def test_charge_with_an_equal_grant_in_its_place_is_granted(desk: Desk, code: str) -> None:
    users = await _users(desk)
    await _write(desk, users["buyer"], "telegram_stars:X", duration_days=None if code == "life" else 30)
    assert (await desk.take(charge("X", code))).outcome == EventOutcome.GRANTED


async def test_a_subscriptions_charge_in_whose_place_another_end_stands_is_parked(desk: Desk) -> None:
    users = await _users(desk)
    await _write(desk, users["buyer"], "telegram_stars:sub-1", duration_days=None, ends_at=START + DAY)
    assert (await desk.take(paid(1))).outcome == EventOutcome.PARKED


async def test_a_refund_takes_nothing_from_the_user_whose_grant_has_the_source(desk: Desk) -> None:
    users = await _users(desk)
    await _write(desk, users["stranger"], "telegram_stars:X")
    await desk.take(charge("X"))
    await desk.take(refund(charge("X")))
    assert (await desk.event("X")).outcome == EventOutcome.REFUNDED
    assert await _grants(desk, users["stranger"]) == [("telegram_stars:X", "premium", None)]


async def test_a_refund_of_a_granted_charge_revokes_its_buyers_grants_alone(desk: Desk) -> None:
    users = await _users(desk)
    await desk.take(charge("X"))
    await _write(desk, users["stranger"], "telegram_stars:X", "archive")
    await _write(desk, users["stranger"], "delay:X")
    await desk.take(refund(charge("X"), START))
    assert {revoked_at for _, _, revoked_at in await _grants(desk, users["buyer"])} == {START}
    assert {revoked_at for _, _, revoked_at in await _grants(desk, users["stranger"])} == {None}


@pytest.mark.parametrize("whose", ["buyer", "stranger"])
async def test_a_charge_whose_refund_came_first_leaves_nothing_of_the_buyers_open(desk: Desk, whose: str) -> None:
    users = await _users(desk)
    await _write(desk, users[whose], "telegram_stars:X")
    await desk.take(refund(charge("X"), START))
    await desk.take(charge("X"))
    revoked = {user: {at for *_, at in await _grants(desk, user_id)} for user, user_id in users.items()}
    assert revoked.get(whose) == ({START} if whose == "buyer" else {None})
    assert (await desk.event("X")).outcome == (EventOutcome.GRANTED if whose == "buyer" else EventOutcome.REFUNDED)


async def test_time_that_is_given_back_is_not_somebody_elses_grant(desk: Desk) -> None:
    users = await _users(desk)
    await _write(desk, users["stranger"], "delay:X", duration_days=1)
    desk.clock.advance(hours=5)
    event = await desk.take(charge("X"))
    assert (event.outcome, "another user's" in (event.error or "")) == (EventOutcome.PARKED, True)
    assert await _grants(desk, users["buyer"]) == []


async def test_grace_that_another_user_has_is_told_to_the_admins(desk: Desk) -> None:
    users = await _users(desk)
    await desk.take(paid(1))
    await _write(desk, users["stranger"], "grace:sub-1", duration_days=None, ends_at=START + DAY)
    desk.clock.now = START + MONTH + timedelta(minutes=1)
    await tell(desk, said("failed", 15))
    assert (Notice.PARKED, ADMIN_CHAT_ID) in await desk.told("sub-1")
    async with desk.database.reading() as session:
        query = select(EntitlementGrant.ends_at).where(EntitlementGrant.source == "grace:sub-1")
        assert await session.scalar(query) == START + DAY, "another user's grant is not moved"


async def test_grace_is_granted_once_and_no_repetition_is_told(desk: Desk) -> None:
    await desk.take(paid(1))
    desk.clock.now = START + MONTH + timedelta(minutes=1)
    await tell(desk, said("failed", 15))
    for _ in range(2):
        await follow(desk)
    assert Notice.PARKED not in [notice for notice, _ in await desk.told()]


async def test_another_users_grant_pays_for_no_subscription(desk: Desk) -> None:
    users = await _users(desk)
    await _write(desk, users["stranger"], "telegram_stars:sub-1", duration_days=None, ends_at=START + MONTH)
    assert (await desk.take(paid(1))).outcome == EventOutcome.PARKED
    [row] = await rows(desk)
    assert row.paid_until is None


async def test_many_grants_at_once_leave_out_what_is_contradicted(desk: Desk) -> None:
    users = await _users(desk)
    await _write(desk, users["stranger"], "telegram_stars:X", "archive")
    wanted = [
        DaysGranted(users["buyer"], entitlement_type, f"telegram_stars:{charge_id}", START, 30)
        for charge_id in ("X", "Y")
        for entitlement_type in ("premium", "archive")
    ]
    async with desk.database.transaction() as session:
        assert await EntitlementService(session).grant_days(wanted) == {"telegram_stars:X"}
        assert await EntitlementService(session).grant_days(wanted) == {"telegram_stars:X"}
    made = {source for source, _, _ in await _grants(desk, users["buyer"])}
    assert made == {"telegram_stars:Y"}


async def test_a_pass_over_the_ledger_parks_what_is_contradicted(desk: Desk) -> None:
    users = await _users(desk)
    await _write(desk, users["stranger"], "telegram_stars:X")
    await desk.record(charge("X"), charge("Y"))
    batch = [await desk.event("X"), await desk.event("Y")]
    async with desk.database.transaction() as session:
        attached = [await session.merge(event) for event in batch]
        buyer = await session.get_one(User, users["buyer"])
        rest = await settle_plain_payments(session, attached, {users["buyer"]: buyer}, CATALOG, SIGNER, desk.clock)
    assert [event.event_id for event in rest] == ["X"]
    assert (await desk.event("Y")).outcome == EventOutcome.GRANTED


async def test_a_revocation_by_hand_is_of_one_user(desk: Desk) -> None:
    users = await _users(desk)
    await desk.take(charge("X"))
    await _write(desk, users["stranger"], "telegram_stars:X", "archive")
    async with desk.database.transaction() as session:
        done = await revoke_by_hand(
            session, users["buyer"], "premium", source=None, actor="cli:me", reason="asked for", now=START
        )
    assert done == ("telegram_stars:X",)
    assert await _grants(desk, users["stranger"]) == [("telegram_stars:X", "archive", None)]
