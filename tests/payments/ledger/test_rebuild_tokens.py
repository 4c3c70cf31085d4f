"""A rebuild of payments whose payloads an older token signed."""

from dataclasses import replace

import pytest

from db.states import EventOutcome
from payments.sale.eligibility import PurchaseObstacle
from payments.sale.payload import PayloadSigner
from payments.settlement.judgement import ChargeProblem
from sandbox.client import SandboxClient
from tests.support.ledger import Books, row
from tests.support.money import STRANGER, charge, order

pytestmark = [pytest.mark.engines("sqlite", "postgresql"), pytest.mark.usefixtures("_a_year_later")]

LOST = PayloadSigner("1000001:a-token-that-is-lost")


async def test_under_an_old_token_at_hand_payments_are_settled(books: Books, telegram: SandboxClient) -> None:
    await telegram.add_rows([row(charge(payload=LOST.sign(order("month"))))])
    both = PayloadSigner("1000001:the-token-in-use", ["1000001:a-token-that-is-lost"])
    assert (await books.rebuild(both)).outcomes == {EventOutcome.GRANTED: 1}


async def test_under_a_lost_token_payments_are_parked_and_settled_when_told_to_trust_them(
    books: Books, telegram: SandboxClient
) -> None:
    forged = [
        charge("good", payload=LOST.sign(order("month"))),
        replace(charge("cheap", payload=LOST.sign(order("month"))), amount=1),
        charge("stolen", payer=STRANGER, payload=LOST.sign(order("month"))),
        charge("garbled", payload="sl1:garbled"),
    ]
    commission = row(replace(charge("commission", payload=LOST.sign(order("month"))), amount=180))
    commission["source"]["affiliate"] = {"commission_per_mille": 100, "amount": 20}
    await telegram.add_rows([*map(row, forged), commission])
    assert (await books.rebuild()).outcomes == {EventOutcome.PARKED: 5}
    report = await books.rebuild(trusts_unsigned=True)
    assert report.outcomes == {EventOutcome.GRANTED: 2, EventOutcome.PARKED: 3}
    assert (await books.desk.event("cheap")).error == ChargeProblem.WRONG_AMOUNT
    assert (await books.desk.event("stolen")).error == PurchaseObstacle.NOT_THE_BUYER
    assert await books.desk.told() == []
