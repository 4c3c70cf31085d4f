"""A sale by an affiliate in the ledger: price and commission."""

from dataclasses import replace
from itertools import product

import pytest

from payments.audit.facts import ChargeFact
from payments.ledger.nanostars import NANOSTARS
from sandbox.client import SandboxClient
from tests.payments.ledger.kept_rows import entries
from tests.support.clock import START
from tests.support.ledger import Books, Row, row
from tests.support.money import charge, refund

pytestmark = pytest.mark.engines("sqlite", "postgresql")

SALES = [
    (f"sale-{number}", price, payload, is_gross)
    for number, (price, payload, is_gross) in enumerate(product((200, 1), (None, "another program's"), (True, False)))
]
"""Each id with its price, whose payload it has, and whether the ledger's amount is before the commission."""


def _sale(name: str, price: int, payload: str | None) -> ChargeFact:
    paid = charge(name) if payload is None else charge(name, payload=payload)
    return replace(paid, amount=price)


async def test_a_sale_with_an_affiliate_agrees_by_its_amount_or_with_its_commission(
    books: Books, telegram: SandboxClient
) -> None:
    for name, price, payload, is_gross in SALES:
        paid = _sale(name, price, payload)
        for fact in (paid, refund(paid, START)):
            await books.desk.record(fact)
            said = _with_commission(row(fact), price, is_gross=is_gross)
            if is_gross:
                # Without its share, a commission does not tell which of the two sums was paid: our row does.
                del said["source" if "source" in said else "receiver"]["affiliate"]["commission_per_mille"]
            await telegram.add_rows([said])
    report = await books.compare()
    assert (report.counts.known, report.counts.unexplained) == (2 * len(SALES), 0)
    stand = await books.stand()
    assert stand.event_stars == stand.payment_stars == 0
    found = await entries(books.desk.database)
    assert [(entry.charge_id, entry.commission_nanostars) for entry in found.values()] == [
        (name, price * NANOSTARS // 10) for name, price, *_ in SALES for _ in ("in", "out")
    ]


async def test_a_sale_with_an_affiliate_that_the_ledger_alone_tells_is_recorded_at_its_price(
    books: Books, telegram: SandboxClient
) -> None:
    sales = [each for each in SALES if each[1] == 200]
    for name, price, payload, is_gross in sales:
        paid = _sale(name, price, payload)
        back = row(refund(paid, START))
        del back["receiver"]["invoice_payload"]
        await telegram.add_rows([_with_commission(said, price, is_gross=is_gross) for said in (row(paid), back)])
    await books.compare()
    for name, price, payload, _ in sales:
        assert (await books.desk.event(name)).amount_cents == 200
        assert (await books.desk.event(f"refund:{name}")).amount_cents == 200
        await books.desk.record(_sale(name, price, payload))
    assert (await books.compare(from_start=True)).counts.unexplained == 0


async def test_less_than_the_price_is_told_whoever_brought_the_buyer(books: Books, telegram: SandboxClient) -> None:
    await books.desk.record(charge())
    await telegram.add_rows([_with_commission(row(charge()), 100, is_gross=False)])
    (found,) = (await books.compare()).counts.findings
    assert (found.finding, found.here, found.there) == ("amount_differs", 200, 100)


def _with_commission(said: Row, price: int, *, is_gross: bool) -> Row:
    """Return a row of a sale of which a tenth went to an affiliate, or came back from one."""
    sign = 1 if "source" in said else -1
    whole, rest = divmod(price * NANOSTARS // 10, NANOSTARS)
    amount, nanostars = divmod(price * NANOSTARS - (0 if is_gross else price * NANOSTARS // 10), NANOSTARS)
    affiliate = {"commission_per_mille": 100, "amount": sign * whole, "nanostar_amount": sign * rest}
    partner = {
        "source" if sign > 0 else "receiver": said["source" if sign > 0 else "receiver"] | {"affiliate": affiliate}
    }
    return said | {"amount": amount, "nanostar_amount": nanostars} | partner
