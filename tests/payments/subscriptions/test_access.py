"""Access of users with subscriptions alone, for any order of their facts, on both engines."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entitlements import EntitlementService
from entitlements.fold import SLACK
from payments.audit.facts import ChargeFact, Person, SubscriptionFact
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import SIGNER, order, refund
from tests.support.subscription_facts import MONTH, follow, in_ledger, paid, said

pytestmark = pytest.mark.engines("sqlite", "postgresql")

GRACE: Final = timedelta(days=1)
LATE_MAX: Final = timedelta(hours=50)
A_SECOND: Final = timedelta(seconds=1)
_PERSON_IDS: Final = count(30_000)


@dataclass(frozen=True)
class Month:
    """One renewal as Telegram makes it: how late it is paid (early: below 0), whether its end moves with that, ..."""

    late: timedelta
    end_moves: bool
    known: str
    refunded: bool
    changes: tuple[str, ...]


_months: Final = st.lists(
    st.builds(
        Month,
        late=st.sampled_from([timedelta(), timedelta(hours=-30), timedelta(minutes=40), LATE_MAX]),
        end_moves=st.booleans(),
        known=st.sampled_from(["update", "ledger", "both", "never"]),
        refunded=st.booleans(),
        changes=st.sampled_from([(), ("canceled",), ("canceled", "active")]),
    ),
    min_size=1,
    max_size=3,
)


@dataclass(frozen=True)
class Story:
    """The events at Telegram, in order, and the access that a subscriber has a right to."""

    charges: list[ChargeFact]
    changes: list[SubscriptionFact]
    has_failed: bool


def _tell(months: list[Month], person: Person) -> Story:
    payload = SIGNER.sign(order("auto", person))
    update_ids = count(1_000)
    first = paid(1, payload=payload, payer=person, charge_id=f"{person.telegram_id}-0")
    story = Story(
        [replace(first, update_id=next(update_ids))], [], has_failed=any(each.late > SLACK for each in months)
    )
    end = START + MONTH
    for number, month in enumerate(months, 1):
        story.changes.extend(said(state, next(update_ids), payload, person) for state in month.changes)
        if month.late > SLACK:
            story.changes.append(said("failed", next(update_ids), payload, person))
        at = end + month.late
        end = max(at, end) + MONTH if month.end_moves else end + MONTH
        renewal = paid(2, at=at, ends_at=end, payload=payload, payer=person, charge_id=f"{person.telegram_id}-{number}")
        story.charges.append(replace(renewal, update_id=next(update_ids)))
    return story


@pytest.mark.criterion("N3", "I2")
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(months=_months, draw=st.randoms(use_true_random=False))
async def test_access_lasts_to_telegrams_date_and_no_longer_than_its_grace(
    desk: Desk, months: list[Month], draw: object
) -> None:
    # Telegram's ledger is read in order: what is not known yet is the newest.
    months = [replace(each, known="ledger") if each.known == "never" else each for each in months[:-1]] + months[-1:]
    person = Person(next(_PERSON_IDS))
    story = _tell(months, person)
    desk.clock.now = story.charges[-1].happened_at + timedelta(minutes=1)
    fates = [Month(timedelta(), end_moves=False, known="update", refunded=False, changes=()), *months]
    steps: list[tuple[str, ChargeFact | SubscriptionFact]] = [("change", change) for change in story.changes]
    for charged, month in zip(story.charges, fates, strict=True):
        if month.known in {"ledger", "both"}:
            steps.append(("charge", in_ledger(charged)))
        if month.known in {"update", "both"}:
            steps.append(("charge", charged))
        if month.refunded and month.known != "never":
            steps.append(("refund", charged))
    draw.shuffle(steps)  # type: ignore[attr-defined]  # hypothesis gives a Random, and says object
    for kind, fact in steps:
        if isinstance(fact, SubscriptionFact):
            await desk.record(fact)
            await follow(desk, fact.payload, person)
        elif kind == "refund":
            await desk.take(refund(fact, fact.happened_at + timedelta(hours=1)))
        else:
            await desk.take(fact)
    paid_for = [
        (charged.happened_at, charged.subscription_expires_at or START, month.known)
        for charged, month in zip(story.charges, fates, strict=True)
        if month.known != "never" and not month.refunded
    ]
    await _check(desk, person, story, paid_for)


async def _check(desk: Desk, person: Person, story: Story, paid_for: list[tuple[datetime, datetime, str]]) -> None:
    user_id = await desk.user_id(person)
    moments = {START + timedelta(hours=6 * step) for step in range(4 * 130)}
    moments |= {begin for begin, _, _ in paid_for} | {end - A_SECOND for _, end, _ in paid_for}
    grace = GRACE if story.has_failed else timedelta()
    allowed = [
        (begin, end + SLACK + grace + (LATE_MAX if known == "ledger" else timedelta()))
        for begin, end, known in paid_for
    ]
    async with desk.database.reading() as session:
        service = EntitlementService(session)
        for moment in sorted(moments)[:: max(1, len(moments) // 60)] + [end - A_SECOND for _, end, _ in paid_for]:
            has = await service.has_entitlement(user_id, "premium", moment)
            if any(begin <= moment < end for begin, end, _ in paid_for):
                assert has, f"paid for, and not open at {moment}"
            elif not any(begin <= moment < end for begin, end in allowed):
                assert not has, f"open without a payment at {moment}"
