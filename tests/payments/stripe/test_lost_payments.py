"""Lost card payments: the desk finds them at Stripe, and tells the admins of each once."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest
from sqlalchemy import select, update

from db.states import CheckoutVerdict
from db.tables import Checkout, QuarantinedUpdate, StripeReading
from payments.audit.facts import ChargeFact, Person
from payments.checkout import CheckoutDesk, CheckoutQuery
from payments.errors import ChannelAwayError
from payments.methods import CARDS
from payments.notices import Notice
from payments.stripe.api import StripeApi
from payments.stripe.charge_updates import EVENT_TYPES
from payments.stripe.lost_payments import LOOKED_DAYS, LOST_HOURS, LostPayments
from payments.stripe.trouble import StripeTrouble
from payments.stripe.watch import DEEP_EVERY_SECONDS, StripeWatch
from tests.support.cards import card_charge
from tests.support.desk import Desk
from tests.support.logs import logged
from tests.support.money import ADMIN_CHAT_ID, ADMINS, BUYER, CATALOG, SIGNER, STRANGER, order
from tests.support.rows import add_other_services_event
from tests.support.stripe_account import Fault, StripeAccount

LATER: Final = timedelta(hours=LOST_HOURS)


def searching(desk: Desk, api: StripeApi) -> LostPayments:
    """Return a search, as each start makes it anew."""
    return LostPayments(desk.database, api, CATALOG, SIGNER, desk.clock, ADMINS, on_owed=lambda: None)


@pytest.fixture
def lost(desk: Desk, api: StripeApi) -> LostPayments:
    return searching(desk, api)


async def check_out(desk: Desk, query_id: str, buyer: Person = BUYER, *, again: ChargeFact | None = None) -> ChargeFact:
    """Let the desk accept a pre-checkout by card, of a new invoice or that of `again`; return its payment."""
    paid = replace(again or card_charge("ch_unset", payer=buyer), happened_at=desk.clock())
    asked = CheckoutQuery(query_id, buyer.telegram_id, paid.amount, paid.currency, paid.payload)
    checkouts = CheckoutDesk(desk.database, CATALOG, SIGNER, desk.clock, deadline_seconds=20, sells_by_card=True)
    assert await checkouts.decide(asked) is CheckoutVerdict.ACCEPTED
    return paid


async def told(desk: Desk) -> list[dict[str, Any]]:
    """Return the facts of what the admins are told."""
    notices = await desk.notices()
    assert {(notice, chat_id) for notice, chat_id, _ in notices} <= {(Notice.LOST_PAYMENT, ADMIN_CHAT_ID)}
    return [facts for _, _, facts in notices]


async def test_a_payment_whose_update_was_lost_is_told_once_with_whose_it_most_likely_is(
    desk: Desk, account: StripeAccount, api: StripeApi, lost: LostPayments
) -> None:
    await check_out(desk, "1")
    desk.clock.advance(seconds=5)
    charge_id = account.charge(499)
    paid_at = desk.clock().isoformat()
    desk.clock.advance(hours=LOST_HOURS - 1)
    await lost.search_lost_payments()
    assert (await told(desk), account.queries) == ([], [])
    desk.clock.advance(hours=1)
    with logged() as records:
        for search in (lost, lost, searching(desk, api)):
            await search.search_lost_payments()
    assert [record["extra"]["charge_id"] for record in records] == [CARDS.event_id(charge_id)]
    fit = {"buyer": BUYER.telegram_id, "title": CATALOG.plans["month"].title, "entitlements": ["premium"], "days": 30}
    money = {"amount": 499, "currency": "USD", "paid_at": paid_at}
    assert await told(desk) == [money | {"stripe_id": charge_id, "fits": [fit], "others": []}]


async def test_each_is_asked_for_once_in_a_process_and_the_oldest_first(
    desk: Desk, account: StripeAccount, lost: LostPayments
) -> None:
    lost.round_max = 2
    begun = int(desk.clock().timestamp())
    for number in range(5):
        await check_out(desk, str(number))
        desk.clock.advance(seconds=0 if number == 0 else 60)
    desk.clock.advance(seconds=LATER.total_seconds())
    for asked in ([0, 0], [60, 120], [180], []):
        account.queries.clear()
        await lost.search_lost_payments()
        assert [int(query["created[gte]"]) - begun + 60 for query in account.queries] == asked


async def test_an_outage_leaves_it_to_the_next_round(desk: Desk, account: StripeAccount, lost: LostPayments) -> None:
    await check_out(desk, "1")
    account.charge(499)
    desk.clock.advance(hours=LOST_HOURS)
    account.faults.append(Fault.BROKEN)
    with pytest.raises(ChannelAwayError):
        await lost.search_lost_payments()
    await lost.search_lost_payments()
    assert len(await told(desk)) == 1


@pytest.mark.parametrize("odd", [{"status": "failed"}, {"amount": 500}, {"currency": "eur"}])
async def test_a_declined_card_and_another_sale_are_not_told(
    desk: Desk, account: StripeAccount, lost: LostPayments, odd: dict[str, Any]
) -> None:
    await check_out(desk, "1")
    account.charge(**odd)
    desk.clock.advance(hours=LOST_HOURS)
    await lost.search_lost_payments()
    assert await told(desk) == []
    assert account.queries


async def test_lost_payment_is_told_unless_it_was_refunded_whole(
    desk: Desk, account: StripeAccount, lost: LostPayments
) -> None:
    await check_out(desk, "1")
    whole, partly = account.charge(499), account.charge(499)
    account.give_back(whole)
    account.give_back(partly, 100)
    desk.clock.advance(hours=LOST_HOURS)
    await lost.search_lost_payments()
    assert [facts["stripe_id"] for facts in await told(desk)] == [partly]


async def test_charge_far_from_its_checkout_is_not_told_as_lost(
    desk: Desk, account: StripeAccount, api: StripeApi, lost: LostPayments
) -> None:
    account.charge(499)
    desk.clock.advance(seconds=61)
    await check_out(desk, "1")
    desk.clock.advance(seconds=601)
    account.charge(499)
    desk.clock.advance(hours=LOST_HOURS)
    await lost.search_lost_payments()
    assert (await told(desk), len(account.queries)) == ([], 1)
    desk.clock.advance(days=LOOKED_DAYS)
    await searching(desk, api).search_lost_payments()
    assert len(account.queries) == 1


@pytest.mark.criterion("I5")
@pytest.mark.parametrize("written", ["stripe:{}", "{}"])
async def test_a_charge_that_anybody_has_on_record_is_not_lost(
    desk: Desk, account: StripeAccount, lost: LostPayments, written: str
) -> None:
    paid = await check_out(desk, "1")
    await check_out(desk, "2", STRANGER)
    ours, theirs = account.charge(499), account.charge(499)
    await desk.take(replace(paid, charge_id=CARDS.event_id(ours)))
    async with desk.database.transaction() as session:
        await add_other_services_event(session, written.format(theirs), await desk.user_id())
    desk.clock.advance(hours=LOST_HOURS)
    await desk.deliver()
    before = await desk.notices()
    await lost.search_lost_payments()
    assert await desk.notices() == before
    assert len(account.queries) == 1, "what was paid is not asked for"


async def test_payment_in_quarantine_is_not_told_as_lost(
    desk: Desk, account: StripeAccount, lost: LostPayments
) -> None:
    await check_out(desk, "1")
    raw = f'{{"message": {{"successful_payment": {{"provider_payment_charge_id": "{account.charge(499)}"}}}}}}'
    async with desk.database.transaction() as session:
        session.add(QuarantinedUpdate(id="q", update_id=1, raw=raw, reason="odd", created_at=desk.clock()))
    desk.clock.advance(hours=LOST_HOURS)
    await lost.search_lost_payments()
    assert await told(desk) == []


async def test_an_invoice_that_was_paid_twice_is_looked_for_if_one_payment_came(
    desk: Desk, account: StripeAccount, lost: LostPayments
) -> None:
    paid = await check_out(desk, "1")
    await desk.take(replace(paid, charge_id=CARDS.event_id(account.charge(499))))
    await desk.deliver()
    before = len(await desk.notices())
    desk.clock.advance(minutes=5)
    await check_out(desk, "2", again=paid)
    second = account.charge(499)
    desk.clock.advance(hours=LOST_HOURS)
    await lost.search_lost_payments()
    assert [facts["stripe_id"] for _, _, facts in (await desk.notices())[before:]] == [second]


async def test_two_purchases_and_two_charges_that_fit_are_told_as_that_and_each_charge_once(
    desk: Desk, account: StripeAccount, api: StripeApi, lost: LostPayments
) -> None:
    declined = await check_out(desk, "1")
    desk.clock.advance(seconds=30)
    await check_out(desk, "2", again=declined)
    await check_out(desk, "3", STRANGER)
    another = Person(7099)
    await check_out(desk, "4", another, again=card_charge("ch_unset", currency="JPY", payer=another))
    first, second, _ = account.charge(499), account.charge(499), account.charge(500)
    desk.clock.advance(hours=LOST_HOURS)
    for search in (lost, searching(desk, api)):
        await search.search_lost_payments()
    facts = {each["stripe_id"]: each for each in await told(desk)}
    assert facts.keys() == {first, second}
    for stripe_id, other in ((first, second), (second, first)):
        assert [fit["buyer"] for fit in facts[stripe_id]["fits"]] == [BUYER.telegram_id, STRANGER.telegram_id]
        assert facts[stripe_id]["others"] == [other]


async def test_a_plan_that_left_the_catalog_is_named_by_its_code(
    desk: Desk, account: StripeAccount, lost: LostPayments
) -> None:
    await check_out(desk, "1")
    payload = SIGNER.sign(replace(order("month"), plan="gone", amount=499, currency="USD"))
    async with desk.database.transaction() as session:
        await session.execute(update(Checkout).values(payload=payload))
    account.charge(499)
    desk.clock.advance(hours=LOST_HOURS)
    await lost.search_lost_payments()
    [facts] = await told(desk)
    assert [(fit["title"], fit["entitlements"]) for fit in facts["fits"]] == [("gone", [])]


async def test_the_watch_looks_each_hour(
    desk: Desk, account: StripeAccount, api: StripeApi, lost: LostPayments
) -> None:
    watch = StripeWatch(desk.database, api, desk.clock, ADMINS, lambda: None, lost)
    await check_out(desk, "1")
    account.charge(499)
    desk.clock.advance(seconds=LATER.total_seconds() - 60)
    for passed_seconds, count in ((0, 0), (60, 0), (DEEP_EVERY_SECONDS - 60, 1)):
        desk.clock.advance(seconds=passed_seconds)
        await watch.try_once()
        assert len(await told(desk)) == count


async def test_refused_search_blocks_no_other_and_is_shown_until_it_works(
    desk: Desk, account: StripeAccount, api: StripeApi, lost: LostPayments
) -> None:
    api.page_size = 2
    api.charge_pages_max = 1
    watch = StripeWatch(desk.database, api, desk.clock, ADMINS, lambda: None, lost)
    await check_out(desk, "1")
    for _ in range(3):
        account.charge(1)
    desk.clock.advance(hours=1)
    await check_out(desk, "2", STRANGER)
    charge_id = account.charge(499)
    desk.clock.advance(hours=LOST_HOURS)
    shown = []
    for _ in range(3):
        await watch.try_once()
        shown.append(watch.trouble)
        desk.clock.advance(seconds=DEEP_EVERY_SECONDS / 2)
    assert shown == ["Stripe's charges cannot be read: RefusedByChannelError"] * 2 + [None]
    notices = {notice: facts for notice, _, facts in await desk.notices()}
    assert notices[Notice.LOST_PAYMENT]["stripe_id"] == charge_id
    assert notices[Notice.STRIPE_TROUBLE]["trouble"] == StripeTrouble.CHARGES
    async with desk.database.reading() as session:
        assert await session.scalar(select(StripeReading.read_at)) is not None


async def test_after_an_outage_of_the_charges_alone_they_are_asked_for_with_the_next_reading(
    desk: Desk, account: StripeAccount, api: StripeApi, lost: LostPayments
) -> None:
    watch = StripeWatch(desk.database, api, desk.clock, ADMINS, lambda: None, lost)
    await check_out(desk, "1")
    account.charge(499)
    desk.clock.advance(hours=LOST_HOURS)
    account.faults.extend([*[None] * len(EVENT_TYPES), Fault.BROKEN])
    await watch.try_once()
    assert watch.trouble == "Stripe's charges cannot be read: ChannelAwayError"
    await watch.try_once()
    assert [watch.trouble, len(await told(desk))] == [None, 1]


async def test_charges_come_page_by_page_and_an_odd_one_hides_no_other(account: StripeAccount, api: StripeApi) -> None:
    api.page_size = 2
    made = [account.charge(100 + number) for number in range(5)]
    account.objects[made[1]]["paid"] = "perhaps"
    now = int(account.clock().timestamp())
    charges = await api.list_charges(now, now)
    assert [each.id for each in charges] == [made[4], made[3], made[2], made[0]]
    assert await api.list_charges(now + 1, now + 60) == []
