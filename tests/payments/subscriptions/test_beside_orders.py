"""Two subscriptions that open the same, in every order of their facts: one end, one renewal at most.

Telegram's updates of their states are on record from the start, as of when it was told: updates are recorded in their
order. So is what the ledger tells, which is read from its first row on. Payments are told by update, by the ledger or
by both, and settled in any order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from db.states import EventOutcome
from db.tables import EntitlementGrant, StripeEvent
from payments.audit.facts import ChargeFact, Person, SubscriptionFact
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import SIGNER, order
from tests.support.renewals import keeper
from tests.support.subscription_facts import MONTH, in_ledger, paid, rows, said

pytestmark = pytest.mark.engines("sqlite", "postgresql")

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
NEVER = None
_numbers = count(1)

State = dict[str, object]


@dataclass(frozen=True)
class Story:
    """The events at Telegram: the charges of two subscriptions, and the fate of the first one."""

    said: str | None
    """The state that Telegram tells at the end of the first one, if any."""
    renewed_after: timedelta | None
    """How long after its end the first one is renewed."""
    begun_after: timedelta
    """When the second one begins, counted from the first one's end."""
    is_second_renewed: bool
    is_known: tuple[str, str, str, str]
    """How each payment becomes known: by update, by the ledger, or by both."""


def _can_happen(story: Story) -> bool:
    """Tell whether Telegram says such a thing: a failure is told before the renewal that makes it good.

    A payment after a cancellation and its end is another subscription (tests/scenarios/test_same_link_again.py).
    """
    if story.said == "canceled":
        return story.renewed_after is NEVER
    return story.said != "failed" or story.renewed_after != timedelta()


_KNOWN = st.sampled_from(["update", "ledger", "both"])
_STORIES = st.builds(
    Story,
    said=st.sampled_from([None, None, "failed", "canceled"]),
    renewed_after=st.sampled_from([NEVER, timedelta(), 30 * MINUTE, 2 * DAY, 5 * DAY]),
    begun_after=st.sampled_from([-20 * DAY, -DAY, 10 * MINUTE, 2 * timedelta(hours=1), 2 * DAY + MINUTE, 4 * DAY]),
    is_second_renewed=st.booleans(),
    is_known=st.tuples(_KNOWN, _KNOWN, _KNOWN, _KNOWN),
).filter(_can_happen)


def _payments(story: Story, buyer: Person, name: str) -> list[tuple[ChargeFact, str]]:
    """Return the payments of a story with how each becomes known; the ids of their updates are in Telegram's order."""
    old, new = (SIGNER.sign(order("auto", buyer)) for _ in range(2))
    begun_at = START + MONTH + story.begun_after
    told = [(paid(1, payload=old, payer=buyer, charge_id=f"{name}old-1"), story.is_known[0])]
    if story.renewed_after is not None:
        at = START + MONTH + story.renewed_after
        told.append((paid(2, at=at, payload=old, payer=buyer, charge_id=f"{name}old-2"), story.is_known[1]))
    told.append((paid(1, at=begun_at, payload=new, payer=buyer, charge_id=f"{name}new-1"), story.is_known[2]))
    if story.is_second_renewed:
        at = begun_at + MONTH
        told.append((paid(2, at=at, payload=new, payer=buyer, charge_id=f"{name}new-2"), story.is_known[3]))
    return [(replace(fact, update_id=_update_id(fact.happened_at)), known) for fact, known in told]


def _update_id(at: datetime) -> int:
    return 1000 + int((at - START) / MINUTE) * 2


def _in_ledger(payments: Sequence[tuple[ChargeFact, str]]) -> list[ChargeFact]:
    """Return what is on record of the ledger: all before the newest payment that became known by it."""
    until = max((fact.happened_at for fact, known in payments if known != "update"), default=START - DAY)
    found = [in_ledger(fact) for fact, _ in payments if fact.happened_at <= until]
    return sorted(found, key=lambda fact: fact.happened_at)


def _steps(payments: Sequence[tuple[ChargeFact, str]]) -> list[ChargeFact]:
    steps = []
    for fact, known in payments:
        if known != "update":
            steps.append(in_ledger(fact))
        if known != "ledger":
            steps.append(fact)
    return steps


async def _tell(desk: Desk, story: Story, buyer: Person, name: str, order_of_steps: Sequence[int]) -> State:
    payments = _payments(story, buyer, name)
    told: list[SubscriptionFact] = []
    if story.said is not None:
        told = [said(story.said, _update_id(START + MONTH) + 1, payments[0][0].payload, buyer)]
        # Telegram keeps an update for a day, so that a word of a state is on record about when it is said.
        desk.clock.now, now = START + MONTH, desk.clock.now
        await desk.record(*told)
        desk.clock.now = now
    if read := _in_ledger(payments):
        await desk.record(*read)
    steps = _steps(payments)
    for number in order_of_steps:
        await desk.take(steps[number])
    for payload in {fact.payload for fact, _ in payments}:
        await keeper(desk).settle(said("active", 1, payload, buyer))
    async with desk.database.reading() as session:
        open_refunds = await session.scalars(
            select(StripeEvent.event_id).where(StripeEvent.refund_of.startswith(name), StripeEvent.status == 0)
        )
    for refund_id in open_refunds.all():
        await desk.settle(refund_id, confirmed=True)
    return await _state(desk, buyer, name)


async def _state(desk: Desk, buyer: Person, name: str) -> State:
    user_id = await desk.user_id(buyer)
    async with desk.database.reading() as session:
        found = await session.scalars(select(EntitlementGrant).where(EntitlementGrant.user_id == user_id))
        grants = {(each.source.partition(name)[2], each.ends_at) for each in found if each.revoked_at is None}
        charges = (await session.scalars(select(StripeEvent).where(StripeEvent.customer_id == user_id))).all()
    kept = await rows(desk, buyer)
    back = {each.refund_of.partition(name)[2] for each in charges if each.refund_of is not None}
    paid_for = {
        each.event_id.partition(name)[2] for each in charges if each.refund_of is None and each.outcome is not None
    }
    assert all(each.outcome in {EventOutcome.GRANTED, EventOutcome.REFUNDED} for each in charges)
    assert {source for source, _ in grants if source} == paid_for - back, "money that is kept is access"
    left = [each.first_charge_id for each in kept if each.state in {"active", "failed"} and each.renewal_wanted is None]
    assert len(left) <= 1, left
    return {
        "rows": [
            (
                *(each.first_charge_id.partition(name)[2], each.last_charge_id.partition(name)[2], each.state),
                *(each.current_period_end, each.paid_until, each.renewal_wanted),
            )
            for each in kept
        ],
        "grants": grants,
        "back": back,
    }


@pytest.mark.criterion("N3", "N2", "C3")
@settings(
    deadline=None,
    max_examples=12,
    # To shrink takes minutes: each example is a dozen transactions.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), story=_STORIES)
async def test_the_order_in_which_payments_become_known_does_not_decide(
    desk: Desk, data: st.DataObject, story: Story
) -> None:
    desk.clock.now = START + MONTH + 8 * DAY + (MONTH if story.is_second_renewed else timedelta())
    in_order = list(range(len(_steps(_payments(story, Person(1), "")))))
    permuted = data.draw(st.permutations(in_order))
    reached = []
    for steps in (in_order, permuted):
        number = next(_numbers)
        reached.append(await _tell(desk, story, Person(100_000 + number), f"{number}:", steps))
    assert reached[0] == reached[1]
