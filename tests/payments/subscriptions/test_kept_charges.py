"""Subscription charges that are kept, and those that go back: beside others, paid twice, by a stranger."""

from dataclasses import replace
from datetime import timedelta

import pytest

from db.states import EventOutcome, EventStatus, Renewal
from entitlements.fold import SLACK
from payments.audit import events
from payments.effects import OutwardEffects
from payments.notices import Notice
from payments.sale.catalog import Catalog
from payments.sale.payload import PayloadSigner
from payments.settlement.settlement import Settlement
from payments.subscriptions.chain import Terms
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import ADMINS, BUYER, CATALOG, SIGNER, STRANGER, charge, order
from tests.support.subscription_facts import MONTH, follow, in_ledger, paid, row, rows, said, tell


@pytest.mark.criterion("N3", "N2")
async def test_a_start_under_a_running_one_goes_back_and_a_renewal_never(desk: Desk) -> None:
    await desk.take(paid(1))
    another = SIGNER.sign(order("auto"))
    event = await desk.take(paid(1, at=START + timedelta(days=5), payload=another, charge_id="other-1"))
    assert (event.status, event.outcome, event.error) == (EventStatus.FAILED, None, "subscribed")
    assert (await desk.event("refund:other-1")).reason == "subscribed"
    assert (await desk.told())[-1] == (Notice.GIVING_BACK, BUYER.telegram_id)
    given_back = {each.first_charge_id: each for each in await rows(desk)}["other-1"]
    assert (given_back.renewal_wanted, given_back.due_at) == (Renewal.CANCELED, desk.clock())
    assert given_back.paid_until is None
    for number in (2, 3):
        early = paid(number, at=START + MONTH * (number - 1) - timedelta(days=1), ends_at=START + MONTH * number)
        assert (await desk.take(early)).outcome == EventOutcome.GRANTED
        assert (await desk.take(in_ledger(early))).outcome == EventOutcome.GRANTED
    late_renewal = paid(2, payload=another, charge_id="other-2")
    assert (await desk.take(late_renewal)).outcome == EventOutcome.GRANTED, "a renewal, whatever became of its start"


@pytest.mark.criterion("N3", "N2")
async def test_events_after_a_link_was_paid_twice_belong_to_the_kept_charge(desk: Desk) -> None:
    await desk.take(paid(1))
    at = START + timedelta(seconds=4)
    twin = await desk.take(replace(paid(1, at=at, charge_id="twin-1"), update_id=11))
    assert twin.error == "subscribed"
    await tell(desk, said("canceled", 12))
    assert [(each.first_charge_id, each.state) for each in await rows(desk)] == [
        ("sub-1", "canceled"),
        ("twin-1", "active"),
    ]
    await tell(desk, said("active", 13))
    await desk.settle("refund:twin-1", confirmed=True)
    desk.clock.now = START + MONTH + timedelta(minutes=1)
    await desk.take(paid(2, at=START + MONTH + timedelta(seconds=3), ends_at=START + 2 * MONTH))
    desk.clock.now = START + MONTH + timedelta(days=4)
    await follow(desk)
    assert [(each.first_charge_id, each.last_charge_id, each.state) for each in await rows(desk)] == [
        ("sub-1", "sub-2", "active"),
        ("twin-1", "twin-1", "ended"),
    ]
    assert Notice.SUBSCRIPTION_ENDED not in {notice for notice, _ in await desk.told()}
    await desk.request_refund("sub-2")
    await desk.settle("refund:sub-2", confirmed=True)
    kept = {each.first_charge_id: each for each in await rows(desk)}
    assert kept["sub-1"].wanted_because == "refund"


@pytest.mark.criterion("N3", "N2")
@pytest.mark.parametrize("after", [timedelta(), timedelta(seconds=5), timedelta(days=20)])
@pytest.mark.parametrize("known", ["update", "ledger, then update", "both in the ledger", "both, the twin told first"])
async def test_second_charge_of_a_link_is_given_back_in_any_order(desk: Desk, after: timedelta, known: str) -> None:
    first = paid(1)
    twin = replace(paid(1, at=START + after, charge_id="twin-1"), update_id=11)
    desk.clock.now = START + after
    if known != "update":
        await desk.take(in_ledger(first) if known.startswith("both") else first)
        await desk.take(in_ledger(twin))
    for told in (twin, first) if known.endswith("first") else (first, twin):
        await desk.take(told)
    assert (await desk.event("twin-1")).due_at is None
    assert (await desk.event("refund:twin-1")).reason == "subscribed"
    assert (await desk.told("twin-1"))[-1] == (Notice.GIVING_BACK, BUYER.telegram_id)
    await desk.settle("refund:twin-1", confirmed=True)
    assert await desk.expires_at() == START + MONTH + SLACK
    kept = {each.first_charge_id: each for each in await rows(desk)}
    assert {key: (each.wanted_because, each.paid_until) for key, each in kept.items()} == {
        "sub-1": (None, START + MONTH),
        "twin-1": ("given_back", None),
    }
    async with desk.database.reading() as session:
        assert await events.refunds_of(session, "sub-1") == []


@pytest.mark.criterion("N3")
async def test_a_subscription_may_start_beside_one_that_opens_something_else_or_is_over(desk: Desk) -> None:
    await desk.take(paid(1))
    await tell(desk, said("canceled", 11))
    at = START + MONTH + timedelta(seconds=1)
    desk.clock.now = at
    event = await desk.take(paid(1, at=at, payload=SIGNER.sign(order("auto")), charge_id="other-1"))
    assert event.outcome == EventOutcome.GRANTED


@pytest.mark.criterion("N3", "S2")
async def test_a_link_paid_by_another_goes_back_and_does_not_renew(desk: Desk) -> None:
    event = await desk.take(paid(1, payer=STRANGER))
    assert event.error == "not_the_buyer"
    kept = await row(desk, STRANGER)
    assert (kept.renewal_wanted, kept.wanted_because) == (Renewal.CANCELED, "given_back")


@pytest.mark.criterion("N3")
async def test_a_price_that_changes_leaves_running_subscriptions_at_theirs(desk: Desk) -> None:
    await desk.take(paid(1))
    dearer = replace(CATALOG.plans["auto"], price_stars=999, retired=True)
    catalog = Catalog({**CATALOG.plans, "auto": dearer})
    effects = OutwardEffects(desk.clock, ADMINS)
    later = Desk(desk.database, desk.clock, Settlement(catalog, SIGNER, desk.clock, effects, terms=Terms()))
    assert (await later.take(paid(2))).outcome == EventOutcome.GRANTED
    assert (await row(desk)).price_stars == 150


@pytest.mark.criterion("N3")
async def test_renewals_go_on_under_a_token_that_is_lost(desk: Desk) -> None:
    await desk.take(paid(1))
    effects = OutwardEffects(desk.clock, ADMINS)
    other_token = PayloadSigner("1000001:another-token")
    later = Desk(desk.database, desk.clock, Settlement(CATALOG, other_token, desk.clock, effects, terms=Terms()))
    assert (await later.take(paid(2))).outcome == EventOutcome.GRANTED
    kept = await row(desk)
    assert (kept.first_charge_id, kept.last_charge_id, kept.price_stars) == ("sub-1", "sub-2", 150)
    stranger = paid(1, payload=SIGNER.sign(order("auto", STRANGER)), payer=STRANGER, charge_id="theirs-1")
    assert (await later.take(stranger)).outcome == EventOutcome.PARKED


@pytest.mark.criterion("N3")
async def test_buying_for_life_ends_renewals_in_either_order(desk: Desk) -> None:
    await desk.take(paid(1))
    life = charge("life-1", "life", at=START + timedelta(days=1))
    await desk.take(life)
    assert ((await row(desk)).renewal_wanted, (await row(desk)).wanted_because) == (Renewal.CANCELED, "for_life")
    await desk.take(charge("life-2", "life", payer=STRANGER, at=START + timedelta(days=1)))
    theirs = SIGNER.sign(order("auto", STRANGER))
    await desk.take(paid(1, payload=theirs, payer=STRANGER, charge_id="theirs-1"))
    assert (await row(desk, STRANGER)).wanted_because == "for_life"
    renewal = await desk.take(paid(2))
    assert renewal.error == "held_for_life"
