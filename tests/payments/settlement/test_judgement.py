"""The judgement of a charge, as a table that is compared with the code for every combination."""

from dataclasses import replace
from itertools import product
from typing import Final

import pytest

from payments.sale.catalog import Catalog
from payments.sale.eligibility import Payer, PurchaseObstacle
from payments.sale.payload import Order, PayloadVerdict, ReadPayload
from payments.settlement.judgement import (
    ChargeJudgement,
    ChargeProblem,
    Foreign,
    GivenBack,
    Granted,
    Parked,
    Payment,
    judge,
)
from tests.support.money import BUYER, CATALOG, order, plan

ORDER: Final = order("bundle")

READINGS: Final = {
    "valid": ReadPayload(PayloadVerdict.VALID, ORDER),
    "old": ReadPayload(PayloadVerdict.OLD, ORDER),
    "damaged": ReadPayload(PayloadVerdict.DAMAGED),
    "claimed": ReadPayload(PayloadVerdict.DAMAGED, claimed=ORDER),
    "foreign": ReadPayload(PayloadVerdict.FOREIGN),
}
CATALOGS: Final = {
    "sold": CATALOG,
    "retired": Catalog({"bundle": replace(plan("bundle"), retired=True)}),
    "dearer": Catalog({"bundle": replace(plan("bundle"), price_stars=999, days=1)}),
    "missing": Catalog({"month": plan("month")}),
}
CURRENCIES: Final = {"same": "XTR", "other": "USD"}
AMOUNTS: Final = {"same": 300, "more": 301, "less": 299}
PAYERS: Final = {"buyer": BUYER.telegram_id, "other": BUYER.telegram_id + 1}
HELD: Final = {
    "nothing": frozenset[str](),
    "another": frozenset({"extra"}),
    "some": frozenset({"premium"}),
    "all": frozenset({"premium", "archive", "extra"}),
}

# payload, plan, currency, amount, payer, held for life; * is anything.
TABLE: Final = """
    foreign        *                    *     *          *     *                     foreign
    damaged        *                    *     *          *     *                     parked damaged_payload
    claimed        *                    *     *          *     *                     parked damaged_payload
    valid,old      missing              *     *          *     *                     parked plan_missing
    valid,old      sold,retired,dearer  other *          *     *                     parked wrong_currency
    valid,old      sold,retired,dearer  same  more,less  *     *                     parked wrong_amount
    valid,old      sold,retired,dearer  same  same       other *                     given_back not_the_buyer
    valid,old      sold,retired,dearer  same  same       buyer all                   given_back held_for_life
    valid,old      sold,retired,dearer  same  same       buyer nothing,another,some  granted
"""


def _expected(row: list[str], catalog: Catalog) -> ChargeJudgement:
    match row:
        case ["foreign"]:
            return Foreign()
        case ["parked", reason]:
            return Parked(ChargeProblem(reason))
        case ["given_back", reason]:
            return GivenBack(PurchaseObstacle(reason))
    return Granted(ORDER, catalog.plans["bundle"])


@pytest.mark.criterion("C4", "C5", "S1", "S2", "S12")
def test_every_combination_is_decided_as_the_table_says() -> None:
    rows = [line.split() for line in TABLE.strip().splitlines()]
    combinations = list(product(READINGS, CATALOGS, CURRENCIES, AMOUNTS, PAYERS, HELD))
    assert len(combinations) == 5 * 4 * 2 * 3 * 2 * 4
    for combination in combinations:
        reading, catalog, currency, amount, payer, held = combination
        (row,) = (
            row[6:]
            for row in rows
            if all(cell == "*" or value in cell.split(",") for cell, value in zip(row, combination, strict=False))
        )
        payment = Payment(AMOUNTS[amount], CURRENCIES[currency])
        facts = Payer(PAYERS[payer], HELD[held])
        decided = judge(payment, facts, READINGS[reading], CATALOGS[catalog], is_offered=True)
        assert decided == _expected(row, CATALOGS[catalog]), combination


@pytest.mark.criterion("C4")
def test_signed_price_counts_above_todays_price() -> None:
    sold: Order = replace(ORDER, amount=250)
    payment, payer = Payment(250, "XTR"), Payer(BUYER.telegram_id)
    judgement = judge(payment, payer, ReadPayload(PayloadVerdict.VALID, sold), CATALOG, is_offered=True)
    assert judgement == Granted(sold, plan("bundle"))
