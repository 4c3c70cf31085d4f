"""A subscription's row, access and notices by its charges and changes, on both engines."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import select

from db.states import EventOutcome, EventStatus, Renewal
from db.tables import EntitlementGrant, Subscription
from entitlements.fold import SLACK
from payments.audit.facts import Person
from payments.effects import SILENT
from payments.notices import Notice
from payments.settlement.settlement import Settlement
from payments.subscriptions.chain import Terms
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import BUYER, CATALOG, SIGNER, order, refund
from tests.support.subscription_facts import MONTH, PAYLOAD, follow, in_ledger, paid, row, rows, said, tell

pytestmark = pytest.mark.engines("sqlite", "postgresql")


@pytest.mark.criterion("N3", "I2")
async def test_each_charge_is_a_dated_grant_and_the_first_one_names_the_subscription(desk: Desk) -> None:
    for number in (1, 2, 3):
        desk.clock.now = START + MONTH * (number - 1)
        event = await desk.take(paid(number))
        assert event.outcome == EventOutcome.GRANTED
        assert await desk.expires_at() == START + MONTH * number + SLACK
    found = await row(desk)
    assert (found.first_charge_id, found.last_charge_id) == ("sub-1", "sub-3")
    assert (found.plan, found.payload, found.price_stars) == ("auto", PAYLOAD, 150)
    assert (found.state, found.current_period_end, found.paid_until) == ("active", START + 3 * MONTH, START + 3 * MONTH)
    assert [notice for notice, _ in await desk.told()] == [Notice.GRANTED] * 3
    assert [facts["is_renewal"] for _, _, facts in await desk.notices()] == [False, True, True]


async def _state(desk: Desk, person: Person) -> dict[str, Any]:
    user_id = await desk.user_id(person)
    async with desk.database.reading() as session:
        grants = await session.scalars(select(EntitlementGrant).where(EntitlementGrant.user_id == user_id))
        found = await session.scalars(select(Subscription).where(Subscription.user_id == user_id))
        return {
            "grants": sorted(
                (each.source.rpartition("-")[2], each.granted_at, each.ends_at, each.revoked_at is not None)
                for each in grants
            ),
            "rows": [
                (
                    *(each.first_charge_id.rpartition("-")[2], each.last_charge_id.rpartition("-")[2], each.state),
                    *(each.current_period_end, each.paid_until, each.renewal_wanted),
                )
                for each in found
            ],
        }


@pytest.mark.criterion("N3", "C3")
@pytest.mark.parametrize("known", ["update", "ledger", "ledger, then update"])
async def test_any_order_of_three_charges_and_a_refund_ends_in_the_same_state(desk: Desk, known: str) -> None:
    reached = []
    for number, steps in enumerate(list(permutations("123R"))[::2]):
        person = Person(20_000 + number)
        payload = SIGNER.sign(order("auto", person))
        charges = {
            str(each): paid(each, payload=payload, payer=person, charge_id=f"{number}-{each}") for each in (1, 2, 3)
        }
        desk.clock.now = START + 2.5 * MONTH
        for step in steps:
            if step == "R":
                await desk.take(refund(charges["2"], START + 2 * MONTH))
                continue
            if known != "update":
                await desk.take(in_ledger(charges[step]))
            if known != "ledger":
                await desk.take(charges[step])
        reached.append(await _state(desk, person))
    assert reached == [reached[0]] * len(reached)
    assert [each[2] for each in reached[0]["grants"]] == [START + MONTH * number for number in (1, 2, 3)]
    assert [each[3] for each in reached[0]["grants"]] == [False, True, False]
    assert reached[0]["rows"] == [("1", "3", "active", START + 3 * MONTH, START + 3 * MONTH, Renewal.CANCELED)]


@pytest.mark.criterion("N3")
async def test_an_end_that_only_the_ledger_lets_guess_becomes_telegrams_when_it_is_told(desk: Desk) -> None:
    late = paid(2, at=START + MONTH + timedelta(hours=6), ends_at=START + 2 * MONTH)
    await desk.take(in_ledger(paid(1)))
    await desk.take(in_ledger(late))
    assert (await row(desk)).current_period_end == START + 2 * MONTH + timedelta(hours=6)
    assert await desk.expires_at() == START + 2 * MONTH + timedelta(hours=6) + SLACK
    await desk.take(late)
    assert (await row(desk)).current_period_end == START + 2 * MONTH
    assert await desk.expires_at() == START + 2 * MONTH + SLACK
    event = await desk.event("sub-2")
    assert (event.status, event.due_at) == (EventStatus.PROCESSED, None)


@pytest.mark.criterion("N3")
async def test_a_charge_that_becomes_known_in_between_is_reckoned_with_in_what_came_after(desk: Desk) -> None:
    first, second, third = (paid(number) for number in (1, 2, 3))
    early = replace(third, happened_at=START + MONTH + timedelta(days=10))
    await desk.take(in_ledger(first))
    await desk.take(in_ledger(early))
    assert (await row(desk)).current_period_end == START + 2 * MONTH + timedelta(days=10)
    await desk.take(in_ledger(second))
    assert (await row(desk)).current_period_end == START + 3 * MONTH


@pytest.mark.criterion("N3")
async def test_a_renewal_that_is_known_before_its_first_charge_takes_its_place_behind_it(desk: Desk) -> None:
    await desk.take(paid(2))
    assert (await row(desk)).first_charge_id == "sub-2"
    await desk.take(paid(1))
    assert ((await row(desk)).first_charge_id, (await row(desk)).last_charge_id) == ("sub-1", "sub-2")


@pytest.mark.criterion("N3", "C3")
async def test_a_link_paid_twice_is_two_subscriptions_each_with_its_own_renewals(desk: Desk) -> None:
    await desk.take(paid(1))
    second = replace(paid(1, at=START + timedelta(days=40), charge_id="other-1"), update_id=45)
    desk.clock.now = START + timedelta(days=40)
    await desk.take(second)
    assert [(each.first_charge_id, each.state) for each in await rows(desk)] == [
        ("other-1", "active"),
        ("sub-1", "ended"),
    ]
    late = paid(2, at=START + timedelta(days=31))
    await desk.take(late)
    kept = {each.first_charge_id: each.last_charge_id for each in await rows(desk)}
    assert kept == {"sub-1": "sub-2", "other-1": "other-1"}


@pytest.mark.criterion("N3")
async def test_subscription_update_is_told_to_the_buyer_and_grants_nothing(desk: Desk) -> None:
    await desk.take(paid(1))
    ends_at = await desk.expires_at()
    for state, update_id, notice in (
        ("canceled", 11, Notice.SUBSCRIPTION_CANCELED),
        ("active", 12, Notice.SUBSCRIPTION_ACTIVE),
        ("canceled", 13, Notice.SUBSCRIPTION_CANCELED),
    ):
        desk.clock.advance(hours=1)
        await tell(desk, said(state, update_id))
        await tell(desk, said(state, update_id))
        assert (await row(desk)).state == state
        assert (await desk.told())[-1] == (notice, BUYER.telegram_id)
        assert await desk.expires_at() == ends_at
    assert len(await desk.told()) == 4
    _, _, facts = (await desk.notices())[-1]
    assert facts == {
        "charge_id": "sub-1",
        "title": "Premium, renewed monthly",
        "plan": "auto",
        "price_stars": 150,
        "renews_at": (START + MONTH).isoformat(),
        "access_until": (START + MONTH).isoformat(),
    }


@pytest.mark.criterion("N3")
async def test_an_older_update_undoes_nothing_newer(desk: Desk) -> None:
    await desk.take(paid(1))
    desk.clock.now = START + timedelta(days=5)
    await desk.record(said("active", 15))
    await desk.record(said("canceled", 14))
    await follow(desk)
    assert (await row(desk)).state == "active"
    desk.clock.now = START + MONTH
    await desk.record(said("failed", 16))
    await desk.take(paid(2))
    await follow(desk)
    assert (await row(desk)).state == "active"
    assert Notice.SUBSCRIPTION_FAILED not in {notice for notice, _ in await desk.told()}


@pytest.mark.criterion("N3")
async def test_update_ids_that_have_begun_anew_are_newer_all_the_same(desk: Desk) -> None:
    await desk.take(replace(paid(1), update_id=900_000_000))
    desk.clock.now = START + timedelta(days=20)
    await tell(desk, said("canceled", 12))
    assert (await row(desk)).state == "canceled"


@pytest.mark.criterion("N3")
@pytest.mark.parametrize("charge_first", [True, False])
async def test_a_failure_that_the_ledger_knows_to_be_made_good_is_over(desk: Desk, *, charge_first: bool) -> None:
    await desk.take(paid(1))
    desk.clock.now = START + MONTH + timedelta(hours=10)
    renewal = in_ledger(paid(2, at=START + MONTH + timedelta(hours=2)))
    if charge_first:
        await desk.take(renewal)
    await tell(desk, said("failed", 15))
    if not charge_first:
        assert (await row(desk)).state == "failed"
        await desk.take(renewal)
    assert (await row(desk)).state == "active"


@pytest.mark.criterion("N3")
async def test_a_change_before_its_charge_is_settled_waits_for_it(desk: Desk) -> None:
    await desk.record(paid(1), said("canceled", 11))
    await follow(desk)
    assert await rows(desk) == []
    await desk.settle("sub-1")
    assert (await row(desk)).state == "canceled"
    assert [notice for notice, _ in await desk.told()] == [Notice.SUBSCRIPTION_CANCELED, Notice.GRANTED]


@pytest.mark.criterion("N3")
@pytest.mark.parametrize("grace_days", [0, 1, 3])
async def test_grace_is_a_dated_grant_for_the_last_paid_charge_and_goes_with_it(desk: Desk, grace_days: int) -> None:
    desk.settlement.subscriptions.terms = Terms(grace_days=grace_days)
    await desk.take(paid(1))
    desk.clock.now = START + MONTH
    await tell(desk, said("failed", 11))
    await tell(desk, said("failed", 12))
    async with desk.database.reading() as session:
        grace = select(EntitlementGrant).where(EntitlementGrant.source.startswith("grace:"))
        sources = [(each.source, each.ends_at) for each in await session.scalars(grace)]
    end = START + MONTH + timedelta(days=grace_days)
    assert sources == ([("grace:sub-1", end)] if grace_days else [])
    assert await desk.expires_at() == end + SLACK
    assert [notice for notice, _ in await desk.told()].count(Notice.SUBSCRIPTION_FAILED) == 1
    await desk.take(refund(paid(1), desk.clock()))
    assert not await desk.holds()
    assert (await row(desk)).state == "ended"
    assert Notice.SUBSCRIPTION_ENDED not in {notice for notice, _ in await desk.told()}


@pytest.mark.criterion("N3")
async def test_grace_moves_with_an_end_that_becomes_better_known(desk: Desk) -> None:
    late = paid(2, at=START + MONTH + timedelta(hours=6), ends_at=START + 2 * MONTH)
    await desk.take(paid(1))
    await desk.take(in_ledger(late))
    desk.clock.now = START + 2 * MONTH + timedelta(hours=1)
    await tell(desk, said("failed", 25))
    assert await desk.expires_at() == START + 2 * MONTH + timedelta(days=1, hours=6) + SLACK
    await desk.take(late)
    assert await desk.expires_at() == START + 2 * MONTH + timedelta(days=1) + SLACK


@pytest.mark.criterion("N3", "C3")
async def test_grace_for_a_charge_that_turns_out_to_be_later_than_the_failure_gives_no_time(desk: Desk) -> None:
    late = paid(2, at=START + MONTH + timedelta(hours=50), ends_at=START + 2 * MONTH)
    desk.clock.now = START + 2 * MONTH
    await desk.take(paid(1))
    await desk.take(in_ledger(late))
    await tell(desk, said("failed", 15))
    assert await desk.expires_at() == START + 2 * MONTH + timedelta(days=1, hours=50) + SLACK
    await desk.take(late)
    assert await desk.expires_at() == START + 2 * MONTH + SLACK


@pytest.mark.criterion("N3")
async def test_a_reminder_comes_once_a_period_and_not_while_it_is_ending(desk: Desk) -> None:
    await desk.take(paid(1))
    assert (await row(desk)).check_at == START + timedelta(days=27)
    for _ in range(2):
        desk.clock.now = START + timedelta(days=27)
        await follow(desk)
        assert (await row(desk)).check_at == START + MONTH + timedelta(days=3)
    await desk.take(paid(2))
    desk.clock.now = START + timedelta(days=57)
    await follow(desk)
    assert [notice for notice, _ in await desk.told()].count(Notice.RENEWAL_SOON) == 2
    await desk.take(paid(3))
    await desk.take(refund(paid(1), START + timedelta(days=80)))
    desk.clock.now = START + timedelta(days=87)
    await follow(desk)
    assert [notice for notice, _ in await desk.told()].count(Notice.RENEWAL_SOON) == 2


@pytest.mark.criterion("N3")
async def test_unheard_subscription_ends_and_a_late_charge_reopens_it(desk: Desk) -> None:
    await desk.take(paid(1))
    desk.clock.now = START + MONTH + timedelta(days=3)
    await follow(desk)
    await follow(desk)
    assert (await row(desk)).state == "ended"
    assert [notice for notice, _ in await desk.told()].count(Notice.SUBSCRIPTION_ENDED) == 1
    await desk.take(in_ledger(paid(2)))
    assert (await row(desk)).state == "active"


@pytest.mark.criterion("N3")
async def test_a_pass_over_the_past_tells_and_edits_nothing(desk: Desk) -> None:
    silent = Desk(desk.database, desk.clock, Settlement(CATALOG, SIGNER, desk.clock, SILENT, terms=Terms()))
    desk.clock.now = START + 3 * MONTH
    for number in (1, 2, 3):
        await silent.take(in_ledger(paid(number)))
    await silent.take(refund(paid(2), START + 2 * MONTH))
    kept = await row(desk)
    assert (kept.state, kept.renewal_wanted, kept.due_at) == ("active", None, None)
    assert await desk.told() == []
    assert kept.payload == PAYLOAD
