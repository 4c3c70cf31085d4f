"""Two subscriptions that open the same, one refunded: a rebuild honours the one that was kept."""

from datetime import timedelta

import pytest

from db.states import EventOutcome
from sandbox.client import SandboxClient
from tests.support.clock import START
from tests.support.ledger import Books, row
from tests.support.money import SIGNER, order, refund
from tests.support.subscription_facts import PAYLOAD, paid

MINUTE = timedelta(minutes=1)
OTHER = SIGNER.sign(order("auto"))


@pytest.mark.criterion("N3", "R4")
@pytest.mark.parametrize("payload", [PAYLOAD, OTHER], ids=["one link", "two links"])
@pytest.mark.parametrize("kept", ["older", "newer"])
async def test_unrefunded_subscription_of_two_is_granted(
    books: Books, telegram: SandboxClient, payload: str, kept: str
) -> None:
    older, newer = paid(1, charge_id="older"), paid(1, at=START + MINUTE, payload=payload, charge_id="newer")
    back = refund(newer if kept == "older" else older, START + 2 * MINUTE)
    books.desk.clock.now = START + timedelta(days=1)
    await telegram.add_rows([row(older), row(newer), row(back)])
    await books.rebuild()
    assert (await books.desk.event(kept)).outcome == EventOutcome.GRANTED
    assert await books.desk.holds()


@pytest.mark.criterion("N3", "R4")
async def test_later_of_two_kept_subscriptions_is_parked(books: Books, telegram: SandboxClient) -> None:
    older, newer = paid(1, charge_id="older"), paid(1, at=START + MINUTE, payload=OTHER, charge_id="newer")
    books.desk.clock.now = START + timedelta(days=1)
    await telegram.add_rows([row(older), row(newer)])
    await books.rebuild()
    assert (await books.desk.event("newer")).outcome == EventOutcome.PARKED
