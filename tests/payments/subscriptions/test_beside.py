"""Two subscriptions that open the same: one renews at most, for any order of their facts."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from db.states import CheckoutVerdict, EventOutcome, Renewal
from db.tables import EntitlementGrant, Subscription, User
from db.users import lock_users
from entitlements.by_hand import revoke_by_hand
from payments.audit import events
from payments.audit.facts import ChargeFact
from payments.checkout import CheckoutAnswer, CheckoutDesk, CheckoutQuery
from payments.notices import Notice
from payments.renewals import RenewalReason, record_wanted_renewal
from payments.sale.eligibility import PurchaseObstacle
from payments.subscriptions import listing
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import ADMIN_CHAT_ID, BUYER, CATALOG, SIGNER, charge, order
from tests.support.renewals import editor, keeper
from tests.support.subscription_facts import MONTH, PAYLOAD, follow, in_ledger, paid, row, rows, said, tell

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
OTHER = SIGNER.sign(order("auto"))


def start(at: datetime, update_id: int) -> ChargeFact:
    """Return the first charge of another subscription that opens the same."""
    return replace(paid(1, at=at, payload=OTHER, charge_id="new-1"), update_id=update_id)


def renewal(number: int, at: datetime, update_id: int) -> ChargeFact:
    """Return the charge of a later month of the first subscription."""
    return replace(paid(number, at=at), update_id=update_id)


async def checkout(desk: Desk) -> CheckoutAnswer:
    checkouts = CheckoutDesk(desk.database, CATALOG, SIGNER, desk.clock, 10, sells_by_card=False)
    return await checkouts.decide(CheckoutQuery("q1", BUYER.telegram_id, 150, "XTR", OTHER))


async def renewing(desk: Desk) -> list[str]:
    """Return which are left to renew: Telegram is going to, and nobody wants the end of it."""
    kept = await rows(desk)
    return [each.first_charge_id for each in kept if each.state == "active" and each.renewal_wanted is None]


async def wishes(desk: Desk) -> dict[str, tuple[str | None, str | None]]:
    return {each.first_charge_id: (each.renewal_wanted, each.wanted_because) for each in await rows(desk)}


async def given_back(desk: Desk, *charge_ids: str) -> list[str]:
    async with desk.database.reading() as session:
        return [each for each in charge_ids if await events.refunds_of(session, each)]


async def told(desk: Desk, notice: Notice) -> set[int]:
    return {chat_id for each, chat_id in await desk.told() if each is notice}


async def fail_and_end(desk: Desk) -> None:
    """Let the first subscription's renewal fail, and let its grace go by."""
    await desk.take(paid(1))
    desk.clock.now = START + MONTH + MINUTE
    await tell(desk, said("failed", 15))
    desk.clock.now = START + MONTH + 2 * DAY
    await follow(desk)
    assert (await row(desk)).state == "ended"


@pytest.mark.criterion("N3", "N2")
@pytest.mark.parametrize("after", [timedelta(), 5 * MINUTE, 59 * MINUTE, 2 * DAY])
async def test_in_the_time_before_a_late_renewal_none_may_start(desk: Desk, after: timedelta) -> None:
    await desk.take(paid(1))
    desk.clock.now = START + MONTH + after
    await follow(desk)
    assert (await row(desk)).state == "active"
    verdict = await checkout(desk)
    await desk.take(start(desk.clock(), 21))
    desk.clock.now += 25 * MINUTE
    await desk.take(renewal(2, desk.clock(), 22))
    assert (verdict, await renewing(desk)) == (PurchaseObstacle.SUBSCRIBED, ["sub-1"])
    assert await given_back(desk, "new-1", "sub-2") == ["new-1"]


@pytest.mark.criterion("N3", "N2")
async def test_failed_subscription_is_ended_at_telegram_when_bought_anew(desk: Desk) -> None:
    await fail_and_end(desk)
    assert await checkout(desk) is CheckoutVerdict.ACCEPTED
    await desk.take(start(desk.clock(), 21))
    assert (await wishes(desk))["sub-1"] == (Renewal.CANCELED, RenewalReason.REPLACED)
    desk.clock.now += DAY
    await desk.take(renewal(2, desk.clock(), 40))
    assert await renewing(desk) == ["new-1"]
    assert await given_back(desk, "new-1", "sub-2") == [], "a renewal's money opens its time"
    assert await told(desk, Notice.RENEWED_ANYWAY) == {BUYER.telegram_id}
    assert await told(desk, Notice.RENEWED_UNWANTED) == {ADMIN_CHAT_ID}


@pytest.mark.criterion("N3", "N2")
@pytest.mark.parametrize("words", [None, "CHARGE_ID_INVALID"], ids=["done", "refused"])
async def test_subscription_renewed_after_its_end_is_ended_again(desk: Desk, words: str | None) -> None:
    await fail_and_end(desk)
    await desk.take(start(desk.clock(), 21))
    kept = {each.first_charge_id: each for each in await rows(desk)}
    await editor(desk, words).apply_wanted_renewal(kept["sub-1"].id)
    desk.clock.now += DAY
    await desk.take(renewal(2, desk.clock(), 40))
    again = {each.first_charge_id: each for each in await rows(desk)}["sub-1"]
    assert (again.renewal_wanted, again.due_at, again.error) == (Renewal.CANCELED, desk.clock(), None)
    assert await renewing(desk) == ["new-1"]
    assert await told(desk, Notice.RENEWED_ANYWAY) == {BUYER.telegram_id}
    assert await told(desk, Notice.RENEWED_UNWANTED) == {ADMIN_CHAT_ID}


@pytest.mark.criterion("N3")
@pytest.mark.parametrize(
    "because", [RenewalReason.BUYER, RenewalReason.REFUND, RenewalReason.FOR_LIFE, RenewalReason.GIVEN_BACK]
)
async def test_telegram_renews_what_it_has_ended_and_it_is_ended_again_whatever_for(
    desk: Desk, because: RenewalReason
) -> None:
    await desk.take(paid(1))
    async with desk.database.transaction() as session:
        kept = await session.get_one(Subscription, (await row(desk)).id)
        record_wanted_renewal(kept, Renewal.CANCELED, because, desk.clock())
    await editor(desk).apply_wanted_renewal(kept.id)
    assert (await row(desk)).state == "canceled"
    desk.clock.now = START + MONTH
    await desk.take(paid(2))
    again = await row(desk)
    assert (again.renewal_wanted, again.wanted_because, again.due_at) == (Renewal.CANCELED, because, desk.clock())
    assert await told(desk, Notice.RENEWED_ANYWAY) == {BUYER.telegram_id}
    assert await told(desk, Notice.RENEWED_UNWANTED) == {ADMIN_CHAT_ID}
    assert await desk.holds()


@pytest.mark.criterion("N3")
async def test_a_renewal_just_before_it_is_ended_for_its_buyer_is_no_news(desk: Desk) -> None:
    await desk.take(paid(1))
    assert await _ask(desk, (await row(desk)).id, Renewal.CANCELED)
    desk.clock.now = START + MONTH
    await desk.take(paid(2))
    assert (await row(desk)).renewal_wanted == Renewal.CANCELED
    assert await told(desk, Notice.RENEWED_ANYWAY) == set()


@pytest.mark.criterion("N3")
async def test_resumed_subscription_renews(desk: Desk) -> None:
    await desk.take(paid(1))
    assert await _ask(desk, (await row(desk)).id, Renewal.CANCELED)
    await editor(desk).apply_wanted_renewal((await row(desk)).id)
    desk.clock.now = START + DAY
    await tell(desk, said("active", 12))
    desk.clock.now = START + MONTH
    await desk.take(paid(2))
    kept = await row(desk)
    assert (kept.state, kept.due_at) == ("active", None)
    assert await told(desk, Notice.RENEWED_ANYWAY) == set()


@pytest.mark.criterion("N3", "N2")
async def test_subscription_revoked_by_hand_still_blocks_another(desk: Desk) -> None:
    await desk.take(paid(1))
    desk.clock.now = START + 2 * DAY
    await _revoke(desk)
    verdict = await checkout(desk)
    await desk.take(start(desk.clock(), 12))
    desk.clock.now = START + MONTH
    await desk.take(paid(2))
    assert (verdict, await renewing(desk)) == (PurchaseObstacle.SUBSCRIBED, ["sub-1"])


@pytest.mark.criterion("N3", "N2")
async def test_refunded_subscription_blocks_no_new_one(desk: Desk) -> None:
    await desk.take(paid(1))
    desk.clock.now = START + DAY
    await desk.request_refund("sub-1")
    await desk.settle("refund:sub-1", confirmed=True)
    desk.clock.now += DAY
    assert await checkout(desk) is CheckoutVerdict.ACCEPTED
    await desk.take(start(desk.clock(), 21))
    assert (await renewing(desk), await given_back(desk, "new-1")) == (["new-1"], [])


@pytest.mark.criterion("N3")
async def test_a_renewal_that_failed_before_its_end_may_be_bought_anew_at_once(desk: Desk) -> None:
    await desk.take(paid(1))
    desk.clock.now = START + MONTH - DAY
    await tell(desk, said("failed", 15))
    assert await desk.holds()
    assert await checkout(desk) is CheckoutVerdict.ACCEPTED
    assert (await desk.take(start(desk.clock(), 21))).outcome == EventOutcome.GRANTED
    assert (await wishes(desk))["sub-1"] == (Renewal.CANCELED, RenewalReason.REPLACED)


@pytest.mark.criterion("N3", "N2")
async def test_twin_under_an_automatic_refund_blocks_no_new_subscription(desk: Desk) -> None:
    await desk.take(paid(1))
    desk.clock.now = START + 20 * DAY
    twin = replace(paid(1, at=desk.clock(), charge_id="twin-1"), update_id=11)
    assert (await desk.take(in_ledger(twin))).outcome == EventOutcome.GRANTED, "as a renewal"
    await desk.take(twin)
    assert await given_back(desk, "twin-1") == ["twin-1"]
    await tell(desk, said("canceled", 12))
    # Its refund is on record and not through yet: what it would open is still granted.
    desk.clock.now = START + MONTH + MINUTE
    assert await checkout(desk) is CheckoutVerdict.ACCEPTED
    assert (await desk.take(start(desk.clock(), 31))).outcome == EventOutcome.GRANTED


@pytest.mark.criterion("N3", "N2", "C3")
@pytest.mark.parametrize("is_known_by", ["update", "ledger"])
async def test_a_start_goes_back_when_it_is_learned_that_the_other_had_been_renewed(
    desk: Desk, is_known_by: str
) -> None:
    await fail_and_end(desk)
    await desk.take(start(desk.clock(), 21))
    assert (await desk.event("new-1")).outcome == EventOutcome.GRANTED
    lost = renewal(2, START + MONTH + DAY, 20)
    await desk.take(in_ledger(lost) if is_known_by == "ledger" else lost)
    assert await given_back(desk, "new-1", "sub-2") == ["new-1"]
    assert await renewing(desk) == ["sub-1"], "nobody had asked Telegram yet to end it"
    assert await told(desk, Notice.GIVING_BACK) == {BUYER.telegram_id}
    assert await told(desk, Notice.RENEWED_UNWANTED) == {ADMIN_CHAT_ID}


@pytest.mark.criterion("N3", "N2", "R1")
@pytest.mark.parametrize("by", [RenewalReason.REFUND, RenewalReason.BUYER])
async def test_a_renewal_that_was_to_end_for_two_reasons_ends_when_one_of_them_is_gone(
    desk: Desk, by: RenewalReason
) -> None:
    await fail_and_end(desk)
    await desk.take(start(desk.clock(), 21))
    assert (await wishes(desk))["sub-1"] == (Renewal.CANCELED, RenewalReason.REPLACED)
    if by is RenewalReason.REFUND:
        await desk.request_refund("sub-1")
        await desk.settle("refund:sub-1", confirmed=True)
    else:
        kept = {each.first_charge_id: each for each in await rows(desk)}["sub-1"]
        assert await _ask(desk, kept.id, Renewal.CANCELED) is True
    await desk.take(in_ledger(renewal(2, START + MONTH + DAY, 20)))
    assert await given_back(desk, "new-1", "sub-2") == ["new-1"]
    assert (await wishes(desk))["sub-1"] == (Renewal.CANCELED, by)
    assert await renewing(desk) == []


@pytest.mark.criterion("N3", "N2", "C3")
@pytest.mark.parametrize("is_later_first", [False, True])
@pytest.mark.parametrize("known", [lambda fact: fact, in_ledger], ids=["update", "ledger"])
async def test_later_of_two_starts_is_given_back_in_any_order(
    desk: Desk, known: object, *, is_later_first: bool
) -> None:
    assert callable(known)
    desk.clock.now = START + DAY
    facts = [paid(1), start(START + DAY, 11)]
    for fact in reversed(facts) if is_later_first else facts:
        await desk.take(known(fact))
    assert await given_back(desk, "sub-1", "new-1") == ["new-1"]
    await desk.settle("refund:new-1", confirmed=True)
    assert await renewing(desk) == ["sub-1"]
    async with desk.database.reading() as session:
        standing = await session.scalars(select(EntitlementGrant.source).where(EntitlementGrant.revoked_at.is_(None)))
        assert list(standing) == ["telegram_stars:sub-1"]


@pytest.mark.criterion("N3", "N2")
async def test_taken_up_at_telegram_beside_one_that_was_bought_meanwhile_it_is_ended(desk: Desk) -> None:
    await desk.take(paid(1))
    await tell(desk, said("canceled", 11))
    await _revoke(desk)
    desk.clock.now = START + DAY
    assert (await desk.take(start(desk.clock(), 12))).outcome == EventOutcome.GRANTED
    await desk.record(said("active", 13, PAYLOAD))
    await keeper(desk).settle(said("active", 13))
    assert await renewing(desk) == ["new-1"]
    assert (await wishes(desk))["sub-1"] == (Renewal.CANCELED, RenewalReason.REPLACED)


@pytest.mark.criterion("N3")
async def test_replaced_subscription_is_not_resumed(desk: Desk) -> None:
    await fail_and_end(desk)
    await desk.take(start(desk.clock(), 21))
    desk.clock.now += DAY
    await desk.take(renewal(2, desk.clock(), 40))
    kept = {each.first_charge_id: each for each in await rows(desk)}["sub-1"]
    await editor(desk).apply_wanted_renewal(kept.id)
    assert {each.first_charge_id: each.state for each in await rows(desk)}["sub-1"] == "canceled"
    assert await _ask(desk, kept.id, Renewal.ALLOWED) is False
    await tell(desk, said("canceled", 50, OTHER))
    assert await _ask(desk, kept.id, Renewal.ALLOWED) is True, "the other renews no more"


@pytest.mark.criterion("N3")
async def test_a_dead_one_does_not_end_the_living_that_is_older(desk: Desk) -> None:
    await fail_and_end(desk)
    await desk.take(start(desk.clock(), 21))
    await tell(desk, said("canceled", 22, OTHER))
    kept = {each.first_charge_id: each for each in await rows(desk)}["sub-1"]
    await editor(desk).apply_wanted_renewal(kept.id)
    desk.clock.now = START + 3 * MONTH
    await desk.take(replace(renewal(3, desk.clock(), 40), is_first_recurring=False))
    assert (await wishes(desk))["new-1"] == (None, None)
    assert (await wishes(desk))["sub-1"][0] == Renewal.CANCELED, "what was ended and renewed is ended again"


@pytest.mark.criterion("N3")
async def test_for_life_ends_what_has_failed_and_is_over_as_well(desk: Desk) -> None:
    await fail_and_end(desk)
    await desk.take(charge("life-1", "life", at=desk.clock()))
    assert (await wishes(desk))["sub-1"] == (Renewal.CANCELED, RenewalReason.FOR_LIFE)


async def _revoke(desk: Desk) -> None:
    async with desk.database.transaction() as session:
        [user] = await lock_users(session, User.telegram_id == BUYER.telegram_id)
        await revoke_by_hand(session, user.id, "premium", source=None, actor="cli", reason="x", now=desk.clock())


async def _ask(desk: Desk, subscription_id: str, renewal_wanted: Renewal) -> bool:
    async with desk.database.transaction() as session:
        asked = await listing.record_wish(session, subscription_id, BUYER.telegram_id, renewal_wanted, desk.clock())
    return asked is not None
