"""The reminder before bought days end: once for a purchase, to the right people, withdrawn when untrue."""

from datetime import timedelta
from typing import Final

import pytest
from sqlalchemy import select

from db.tables import OutboxMessage
from payments.audit.facts import Person
from payments.notices import Notice
from payments.subscriptions.reminders import BATCH_MAX, Reminders
from tests.support.cards import card_charge
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import BUYER, CATALOG, SIGNER, STRANGER, charge, order, refund
from tests.support.subscription_facts import MONTH, follow, paid, said, tell

DAY: Final = timedelta(days=1)


def _reminders(desk: Desk, remind_days: int = 3) -> Reminders:
    return Reminders(desk.database, CATALOG, SIGNER, desk.clock, remind_days)


async def _told(desk: Desk) -> list[tuple[str, int]]:
    found = await desk.notices()
    return [(facts["plan"], chat) for notice, chat, facts in found if notice is Notice.ACCESS_ENDS_SOON]


async def _work(reminders: Reminders) -> None:
    while await reminders.owe_reminders_once():
        pass


@pytest.mark.criterion("N3")
async def test_the_buyer_is_told_once_when_the_end_is_near(desk: Desk) -> None:
    await desk.take(charge(code="bundle"))
    reminders = _reminders(desk)
    for days, told in (
        (0, []),
        (26.9, []),
        (27, [("bundle", BUYER.telegram_id)]),
        (29, [("bundle", BUYER.telegram_id)]),
    ):
        desk.clock.now = START + days * DAY
        await _work(reminders)
        assert await _told(desk) == told, days
    await _work(_reminders(desk))
    assert len(await _told(desk)) == 1, "another start tells nobody again"
    [(_, _, facts)] = [each for each in await desk.notices() if each[0] is Notice.ACCESS_ENDS_SOON]
    assert facts == {"title": "Premium and archive", "plan": "bundle", "until": (START + 30 * DAY).isoformat()}


@pytest.mark.criterion("N3")
async def test_a_purchase_in_time_moves_the_word_to_the_new_end(desk: Desk) -> None:
    await desk.take(charge())
    await desk.take(charge("charge-2", at=START + DAY))
    reminders = _reminders(desk)
    desk.clock.now = START + 29 * DAY
    await _work(reminders)
    assert await _told(desk) == []
    desk.clock.now = START + 58 * DAY
    await _work(reminders)
    assert len(await _told(desk)) == 1


@pytest.mark.criterion("N3")
async def test_after_a_clock_was_set_back_the_ends_are_looked_through_anew(desk: Desk) -> None:
    await desk.take(charge())
    await desk.take(charge("charge-2", payer=STRANGER, at=START + 372 * DAY))
    reminders = _reminders(desk)
    desk.clock.now = START + 400 * DAY
    await _work(reminders)
    desk.clock.now = START + 28 * DAY
    await _work(reminders)
    assert ("month", BUYER.telegram_id) in await _told(desk)


@pytest.mark.criterion("N3", "N5")
async def test_plan_bought_by_card_is_reminded_of(desk: Desk) -> None:
    await desk.take(charge(code="bundle"))
    await desk.take(card_charge("ch_1", at=START + DAY))
    reminders = _reminders(desk)
    desk.clock.now = START + 58 * DAY
    await _work(reminders)
    assert ("month", BUYER.telegram_id) in await _told(desk)


@pytest.mark.criterion("N3")
@pytest.mark.parametrize("remind_days", [0, 7])
async def test_a_short_plan_and_a_seller_who_wants_none_have_no_reminders(desk: Desk, remind_days: int) -> None:
    await desk.take(charge(code="old" if remind_days else "month"))
    desk.clock.now = START + (6 if remind_days else 29) * DAY
    await _work(_reminders(desk, remind_days))
    assert await _told(desk) == []


@pytest.mark.criterion("N3")
async def test_a_charge_that_came_to_be_known_near_its_end_brings_no_second_word(desk: Desk) -> None:
    desk.clock.now = START + 28 * DAY
    await desk.take(charge())
    await _work(_reminders(desk))
    assert await _told(desk) == []


@pytest.mark.criterion("N3")
async def test_days_behind_a_running_subscription_end_for_nobody_and_a_subscriptions_end_is_no_purchases(
    desk: Desk,
) -> None:
    await desk.take(charge())
    desk.clock.now = START + 29 * DAY
    await desk.take(paid(1, at=START + 29 * DAY))
    reminders = _reminders(desk, 28)
    desk.clock.now = START + 35 * DAY
    await _work(reminders)
    assert await _told(desk) == []
    await tell(desk, said("canceled", 500))
    await _work(_reminders(desk, 28))
    assert await _told(desk) == [("month", BUYER.telegram_id)], "the day that is left waits for its end"
    stranger = Person(6001)
    await desk.take(paid(1, payer=stranger, payload=SIGNER.sign(order("auto", stranger)), charge_id="other-1"))
    desk.clock.now = START + MONTH - DAY
    await _work(_reminders(desk, 3))
    assert len(await _told(desk)) == 1


@pytest.mark.criterion("N3")
async def test_more_than_a_batch_is_told_piece_by_piece(desk: Desk) -> None:
    people = [Person(7_000 + number) for number in range(BATCH_MAX + 5)]
    await desk.record(*(charge(f"c-{person.telegram_id}", payer=person) for person in people))
    for person in people:
        await desk.settle(f"c-{person.telegram_id}")
    desk.clock.now = START + 28 * DAY
    reminders = _reminders(desk)
    assert [await reminders.owe_reminders_once() for _ in range(3)] == [BATCH_MAX, 5, 0]
    assert len(await _told(desk)) == len(people)


@pytest.mark.criterion("N3")
async def test_undelivered_reminder_is_withdrawn_when_it_is_untrue(desk: Desk) -> None:
    await desk.take(charge())
    stranger = Person(6001)
    payload = SIGNER.sign(order("auto", stranger))
    await desk.take(paid(1, payer=stranger, payload=payload))
    desk.clock.now = START + 28 * DAY
    reminders = _reminders(desk)
    await _work(reminders)
    await follow(desk, payload, stranger)
    await reminders.withdraw_reminders()
    assert await _waiting(desk) == {Notice.ACCESS_ENDS_SOON, Notice.RENEWAL_SOON}
    await desk.take(charge("charge-2", at=desk.clock()))
    await tell(desk, said("canceled", 500, payload, stranger))
    await reminders.withdraw_reminders()
    assert await _waiting(desk) == set()


@pytest.mark.criterion("N3")
async def test_a_refund_takes_the_word_back(desk: Desk) -> None:
    await desk.take(charge())
    desk.clock.now = START + 28 * DAY
    reminders = _reminders(desk)
    await _work(reminders)
    await desk.take(refund(charge(), desk.clock()))
    await reminders.withdraw_reminders()
    assert await _waiting(desk) == set()


async def _waiting(desk: Desk) -> set[str]:
    kinds = select(OutboxMessage.kind).where(
        OutboxMessage.due_at.is_not(None), OutboxMessage.kind.in_([Notice.ACCESS_ENDS_SOON, Notice.RENEWAL_SOON])
    )
    async with desk.database.reading() as session:
        return set(await session.scalars(kinds))
