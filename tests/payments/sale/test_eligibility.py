"""The rule of purchase, as a table of every combination: a declined payment is one that goes back."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Final

import pytest

from db.states import CheckoutVerdict, EventOutcome
from payments.audit.facts import ChargeFact
from payments.checkout import CheckoutAnswer, CheckoutDesk, CheckoutQuery
from payments.sale.catalog import Catalog, Plan
from payments.sale.eligibility import Payer, PurchaseObstacle, Sale, find_obstacle
from payments.sale.payload import Order, PayloadVerdict, ReadPayload
from payments.settlement.judgement import GIVEN_BACK_FOR, ChargeJudgement, GivenBack, Granted, Payment, judge
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import BUYER, CATALOG, SIGNER, STRANGER, charge, order, plan, query

PAYERS: Final = {"buyer": BUYER.telegram_id, "other": STRANGER.telegram_id}
SHELVES: Final = {"on_sale": False, "retired": True}
HELD: Final = {
    "nothing": frozenset[str](),
    "another": frozenset({"extra"}),
    "some": frozenset({"premium"}),
    "all": frozenset({"premium", "archive", "extra"}),
}
SUBSCRIBED: Final = {
    "nothing": frozenset[str](),
    "another": frozenset({"extra"}),
    "some": frozenset({"archive", "extra"}),
}
TERMS: Final = {"once": False, "renewed": True}

# payer, shelf, held for life, open by running subscriptions, terms; * is anything.
TABLE: Final = """
    other  *        *                     *                *         not_the_buyer
    buyer  retired  *                     *                *         not_on_sale
    buyer  on_sale  all                   *                *         held_for_life
    buyer  on_sale  nothing,another,some  some             renewed   subscribed
    buyer  on_sale  nothing,another,some  nothing,another  renewed   may_buy
    buyer  on_sale  nothing,another,some  *                once      may_buy
"""

BUNDLE: Final = plan("bundle")

COMBINATIONS: Final = list(product(PAYERS, SHELVES, HELD, SUBSCRIBED, TERMS))


def _expected(combination: tuple[str, ...]) -> PurchaseObstacle | None:
    rows = [line.split() for line in TABLE.strip().splitlines()]
    (said,) = (
        row[5]
        for row in rows
        if all(cell == "*" or value in cell.split(",") for cell, value in zip(row[:5], combination, strict=True))
    )
    return None if said == "may_buy" else PurchaseObstacle(said)


def _facts(combination: tuple[str, ...]) -> tuple[Plan, Payer]:
    payer, shelf, held, subscribed, terms = combination
    is_subscription = TERMS[terms]
    days = None if is_subscription else BUNDLE.days
    sold = replace(BUNDLE, retired=SHELVES[shelf], subscription=is_subscription, days=days)
    return sold, Payer(PAYERS[payer], HELD[held], SUBSCRIBED[subscribed])


def _declined(sold: Plan, payer: Payer) -> PurchaseObstacle | None:
    return find_obstacle(Sale(sold, BUYER.telegram_id, sold.subscription), payer, is_paid=False)


def _judged(sold: Plan, payer: Payer) -> ChargeJudgement:
    signed = Order(sold.code, sold.days, sold.subscription, sold.price_stars, "XTR", BUYER.telegram_id)
    payment = Payment(sold.price_stars, "XTR")
    return judge(payment, payer, ReadPayload(PayloadVerdict.VALID, signed), Catalog({sold.code: sold}), is_offered=True)


def test_rule_declines_what_the_table_says() -> None:
    assert len(COMBINATIONS) == 2 * 2 * 4 * 3 * 2
    for combination in COMBINATIONS:
        assert _declined(*_facts(combination)) == _expected(combination), combination


def test_charge_goes_back_exactly_for_what_declines_its_payment() -> None:
    for combination in COMBINATIONS:
        sold, payer = _facts(combination)
        # The one difference: a plan may be retired while an invoice of it is paid, and what was sold is delivered.
        obstacle = _declined(replace(sold, retired=False), payer)
        judgement = _judged(sold, payer)
        if obstacle is None:
            assert isinstance(judgement, Granted), combination
        else:
            assert judgement == GivenBack(obstacle), combination
            assert obstacle in GIVEN_BACK_FOR


def test_fact_more_about_a_payer_takes_no_obstacle_away() -> None:
    for combination in COMBINATIONS:
        sold, payer = _facts(combination)
        known = _declined(sold, Payer(payer.telegram_id))
        assert known is None or _declined(sold, payer) is known, combination


def test_plan_in_no_catalog_is_sold_to_nobody() -> None:
    for payer, is_paid in product(PAYERS.values(), (False, True)):
        obstacle = find_obstacle(Sale(None, BUYER.telegram_id, is_subscription=False), Payer(payer), is_paid=is_paid)
        expected = PurchaseObstacle.NOT_ON_SALE if payer == BUYER.telegram_id else PurchaseObstacle.NOT_THE_BUYER
        assert obstacle is expected


def _subscription(charge_id: str, days: int = 0) -> ChargeFact:
    at = START + timedelta(days=days)
    return charge(charge_id, "auto", at=at, ends_at=at + timedelta(days=30), is_first=True)


@pytest.mark.criterion("L2", "C5", "N3")
@pytest.mark.parametrize(
    ("before", "asked", "paid", "answer"),
    [
        (None, query("month"), charge("paid"), CheckoutVerdict.ACCEPTED),
        (
            None,
            replace(query("month"), telegram_id=STRANGER.telegram_id),
            charge("paid", payer=STRANGER, buyer=BUYER),
            PurchaseObstacle.NOT_THE_BUYER,
        ),
        (charge("before", "life"), query("month"), charge("paid"), PurchaseObstacle.HELD_FOR_LIFE),
        (charge("before", "life"), query("bundle"), charge("paid", "bundle"), CheckoutVerdict.ACCEPTED),
        (_subscription("before"), query("auto"), _subscription("paid", 1), PurchaseObstacle.SUBSCRIBED),
        (_subscription("before"), query("month"), charge("paid"), CheckoutVerdict.ACCEPTED),
    ],
    ids=["nothing held", "stranger", "held for life", "more than held", "subscribed", "once beside"],
)
async def test_charge_that_was_paid_all_the_same_goes_back_for_the_reason_of_its_decline(
    desk: Desk, before: ChargeFact | None, asked: CheckoutQuery, paid: ChargeFact, answer: CheckoutAnswer
) -> None:
    if before is not None:
        await desk.take(before)
    desk.clock.advance(days=1)
    assert await CheckoutDesk(desk.database, CATALOG, SIGNER, desk.clock, sells_by_card=False).decide(asked) is answer
    event = await desk.take(paid)
    if answer is CheckoutVerdict.ACCEPTED:
        assert (event.outcome, event.error) == (EventOutcome.GRANTED, None)
    else:
        assert (event.outcome, event.error) == (None, answer)


async def test_retired_plan_is_declined_and_delivered_to_whoever_has_paid(desk: Desk) -> None:
    asked = replace(query("old"), payload=SIGNER.sign(order("old")))
    checkouts = CheckoutDesk(desk.database, CATALOG, SIGNER, desk.clock, sells_by_card=False)
    assert await checkouts.decide(asked) is PurchaseObstacle.NOT_ON_SALE
    assert (await desk.take(charge("paid", "old"))).outcome == EventOutcome.GRANTED
