"""Orders under a former token: honoured on terms that the catalog has or has had, parked otherwise."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.states import EventOutcome
from db.tables import User
from payments.effects import SILENT, OutwardEffects
from payments.ledger.plain import settle_plain_payments
from payments.notices import Notice
from payments.sale.catalog import Catalog
from payments.sale.offered_terms import record_offered_terms, was_offered
from payments.sale.payload import DAYS_MAX, Order, PayloadSigner
from payments.settlement.judgement import ChargeProblem
from payments.settlement.settlement import Settlement
from payments.subscriptions.chain import Terms
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import ADMIN_CHAT_ID, ADMINS, BUYER, CATALOG, STRANGER, TOKEN, charge, order, plan
from tests.support.subscription_facts import MONTH, paid

LEAKED = PayloadSigner("1000001:a-token-that-has-leaked")
SIGNER = PayloadSigner(TOKEN, ["1000001:a-token-that-has-leaked"])

THIEFS = {
    "cheaper": replace(order("month"), amount=1),
    "dearer": replace(order("month"), amount=201),
    "longer": replace(order("month"), days=DAYS_MAX),
    "shorter": replace(order("month"), days=1),
    "for life": replace(order("month"), days=None),
    "no subscription": replace(order("auto"), subscription=False),
    "a subscription": replace(order("month"), days=None, subscription=True),
    "another currency": replace(order("month"), currency="EUR"),
    "the amount of another currency": replace(order("month"), currency="USD"),
    "a retired plan, cheaper": replace(order("old"), amount=1),
}


def _desk(desk: Desk, catalog: Catalog = CATALOG) -> Desk:
    """Return the desk after the token was replaced."""
    effects = OutwardEffects(desk.clock, ADMINS)
    return Desk(desk.database, desk.clock, Settlement(catalog, SIGNER, desk.clock, effects, terms=Terms()))


def _dearer() -> Catalog:
    return Catalog(dict(CATALOG.plans) | {"month": replace(plan("month"), price_stars=999, prices={"USD": 1999})})


@pytest.mark.parametrize("made", THIEFS.values(), ids=THIEFS)
async def test_terms_that_were_never_offered_are_parked(desk: Desk, made: Order) -> None:
    charged = replace(charge("X", payload=LEAKED.sign(made)), amount=made.amount, currency=made.currency)
    event = await _desk(desk).take(charged)
    assert (event.outcome, event.error) == (EventOutcome.PARKED, ChargeProblem.NEVER_OFFERED)
    assert await desk.access() is None
    assert (Notice.PARKED, ADMIN_CHAT_ID) in await desk.told(event.event_id)


@pytest.mark.parametrize("code", [*CATALOG.plans])
async def test_terms_that_the_catalog_has_are_honoured(desk: Desk, code: str) -> None:
    event = await _desk(desk).take(charge("X", code, payload=LEAKED.sign(order(code))))
    assert event.outcome == EventOutcome.GRANTED


async def test_a_price_by_card_that_the_catalog_has_is_honoured(desk: Desk) -> None:
    made = replace(order("month"), amount=499, currency="USD")
    charged = replace(charge("stripe:X", payload=LEAKED.sign(made)), amount=499, currency="USD")
    assert (await _desk(desk).take(charged)).outcome == EventOutcome.GRANTED


async def test_terms_that_a_catalog_has_had_are_honoured(desk: Desk) -> None:
    changed = _desk(desk, _dearer())
    payload = LEAKED.sign(order("month"))
    assert (await changed.take(charge("X", payload=payload))).error == ChargeProblem.NEVER_OFFERED
    async with desk.database.transaction() as session:
        for catalog in (CATALOG, _dearer(), CATALOG):
            await record_offered_terms(session, catalog, desk.clock())
    await changed.retry("X")
    event = await changed.settle("X")
    assert event is not None
    assert event.outcome == EventOutcome.GRANTED


async def test_a_renewal_of_what_was_granted_is_honoured_at_its_own_price(desk: Desk) -> None:
    made = replace(order("auto"), amount=99)
    payload = LEAKED.sign(made)
    before = Settlement(CATALOG, LEAKED, desk.clock, OutwardEffects(desk.clock, ADMINS), terms=Terms())
    first = replace(paid(1, payload=payload), amount=99)
    assert (await Desk(desk.database, desk.clock, before).take(first)).outcome == EventOutcome.GRANTED
    desk.clock.now = START + MONTH
    second = replace(paid(2, payload=payload), amount=99)
    assert (await _desk(desk).take(second)).outcome == EventOutcome.GRANTED
    theirs = replace(paid(3, payload=payload, payer=STRANGER), amount=99)
    assert (await _desk(desk).take(theirs)).outcome == EventOutcome.PARKED


async def test_under_the_token_in_use_what_was_signed_counts(desk: Desk) -> None:
    payload = SIGNER.sign(replace(order("month"), amount=1))
    assert (await _desk(desk).take(replace(charge("X", payload=payload), amount=1))).outcome == EventOutcome.GRANTED


async def test_a_pass_over_the_ledger_parks_them_too(desk: Desk) -> None:
    made = replace(order("month"), amount=1)
    await desk.record(replace(charge("X", payload=LEAKED.sign(made)), amount=1))
    user_id = await desk.user_id()
    async with desk.database.transaction() as session:
        user = await session.get_one(User, user_id)
        event = await session.merge(await desk.event("X"))
        rest = await settle_plain_payments(session, [event], {user_id: user}, CATALOG, SIGNER, desk.clock)
    assert [each.event_id for each in rest] == ["X"], "it is settled one by one, and parked"


async def test_the_word_of_an_operator_is_taken(desk: Desk) -> None:
    made = replace(order("month"), amount=1)
    trusting = Settlement(CATALOG, SIGNER.trusting(), desk.clock, SILENT, terms=Terms())
    charged = replace(charge("X", payload=LEAKED.sign(made)), amount=1)
    assert (await Desk(desk.database, desk.clock, trusting).take(charged)).outcome == EventOutcome.GRANTED


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    code=st.sampled_from([*CATALOG.plans]),
    days=st.one_of(st.none(), st.sampled_from([1, 7, 30, 365])),
    amount=st.sampled_from([1, 50, 150, 200, 300, 499, 1000]),
    currency=st.sampled_from(["XTR", "USD", "EUR"]),
    subscription=st.booleans(),
)
async def test_recorded_terms_are_those_of_the_catalog(
    desk: Desk, code: str, days: int | None, amount: int, currency: str, *, subscription: bool
) -> None:
    made = Order(code, None if subscription else days, subscription, amount, currency, BUYER.telegram_id)
    async with desk.database.transaction() as session:
        await record_offered_terms(session, CATALOG, desk.clock())
        assert await was_offered(session, made) is CATALOG.plans[code].offers(made)
