"""Rows of a server older than transaction types: a payment is known by its payload."""

from datetime import timedelta
from typing import Any

import pytest

from sandbox.client import SandboxClient
from tests.payments.ledger.kept_rows import entries
from tests.support.clock import START
from tests.support.ledger import Books, row
from tests.support.money import charge, refund

pytestmark = pytest.mark.engines("sqlite", "postgresql")

DAY = timedelta(days=1)

NO_TYPES: dict[str, Any] = {"null": None, "number": 7, "empty": "", "new": "paid_for_something_new"}


async def test_a_payment_without_a_known_type_is_recovered_by_its_payload(
    books: Books, telegram: SandboxClient
) -> None:
    for name in ("left-out", *NO_TYPES):
        paid, back = row(charge(name)), row(refund(charge(name), START + DAY))
        for partner in (paid["source"], back["receiver"]):
            del partner["transaction_type"]
            partner.update({"transaction_type": NO_TYPES[name]} if name in NO_TYPES else {})
        await telegram.add_rows([paid])
        assert (await books.compare()).counts.recovered == 1
        await books.desk.settle(name)
        assert await books.desk.holds()
        await telegram.add_rows([back])
        assert (await books.compare()).counts.refunded == 1
        await books.desk.settle(f"refund:{name}")
        assert not await books.desk.holds()
    found = await entries(books.desk.database)
    assert {entry.charge_id for entry in found.values()} == {"left-out", *NO_TYPES}


async def test_without_a_type_another_programs_payment_is_foreign_and_other_rows_are_what_they_are(
    books: Books, telegram: SandboxClient
) -> None:
    rows = [row(charge(f"c{number}", payload="another program's")) for number in range(4)]
    rows[1]["source"] |= {"gift": {"id": "1"}}
    rows[2]["source"] |= {"paid_media": [], "paid_media_payload": "x"}
    rows[3]["source"] |= {"premium_subscription_duration": 3}
    for each in rows:
        del each["source"]["transaction_type"]
    for each in rows[1:]:
        del each["source"]["invoice_payload"]
    await telegram.add_rows(rows)
    report = await books.compare()
    assert report.counts.foreign == 1
    assert report.counts.others == {"gift_purchase": 1, "paid_media_payment": 1, "premium_purchase": 1}


async def test_a_pass_over_the_ledger_of_an_old_server_gives_the_access(books: Books, telegram: SandboxClient) -> None:
    books.desk.clock.advance(hours=1)
    paid = row(charge())
    del paid["source"]["transaction_type"]
    await telegram.add_rows([paid])
    await books.rebuild()
    assert await books.desk.holds()
