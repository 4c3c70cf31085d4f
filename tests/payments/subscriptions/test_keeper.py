"""The loop over subscriptions finds its work by itself, and an odd one holds up no other."""

from datetime import timedelta

import pytest
from aiogram import Bot
from sqlalchemy import update

from db.insert import insert_into
from db.states import EventOutcome, EventStatus, Renewal
from db.tables import LedgerReading, SubscriptionChange
from payments.audit import events, transitions
from payments.audit.facts import Person
from payments.effects import SILENT
from payments.loop import Pulse
from payments.notices import Notice
from payments.pause import Pause
from payments.renewals import RenewalReason, record_wanted_renewal
from payments.subscriptions.editor import RenewalEditor
from payments.subscriptions.keeper import BATCH_MAX, SubscriptionKeeper
from payments.subscriptions.reminders import Reminders
from tests.support.bots import talking_bot
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.logs import logged
from tests.support.money import CATALOG, SIGNER, TOKEN, charge, order
from tests.support.proxies import proxy_that_answers
from tests.support.subscription_facts import MONTH, in_ledger, paid, row, said

pytestmark = pytest.mark.engines("sqlite", "postgresql")


@pytest.fixture
def keeper(desk: Desk, bot: Bot) -> SubscriptionKeeper:
    return _keeper(desk, bot)


def _keeper(desk: Desk, bot: Bot, batch_max: int = BATCH_MAX) -> SubscriptionKeeper:
    book = desk.settlement.subscriptions
    editor = RenewalEditor(desk.database, bot, book, SILENT, desk.clock, pause=Pause(desk.clock))
    reminders = Reminders(desk.database, CATALOG, SIGNER, desk.clock, 3)
    return SubscriptionKeeper(
        desk.database, book, editor, reminders, desk.clock, on_progress=lambda: None, batch_max=batch_max
    )


async def _work(keeper: SubscriptionKeeper) -> None:
    while await keeper.work_once():
        pass


@pytest.mark.criterion("N3")
async def test_recorded_change_is_found_by_the_keeper(desk: Desk, keeper: SubscriptionKeeper) -> None:
    await desk.take(paid(1))
    await desk.record(said("canceled", 11))
    await _work(keeper)
    assert (await row(desk)).state == "canceled"
    await _work(keeper)
    assert [notice for notice, _ in await desk.told()].count(Notice.SUBSCRIPTION_CANCELED) == 1


@pytest.mark.criterion("N3")
async def test_expired_subscription_is_found_by_the_keeper(desk: Desk, keeper: SubscriptionKeeper) -> None:
    await desk.take(paid(1))
    desk.clock.now = START + MONTH + timedelta(days=3)
    await _work(keeper)
    assert (await row(desk)).state == "ended"


@pytest.mark.criterion("N3")
async def test_while_the_ledger_is_to_be_passed_over_nothing_is_done(desk: Desk, keeper: SubscriptionKeeper) -> None:
    await desk.take(paid(1))
    await desk.record(said("canceled", 11))
    async with desk.database.transaction() as session:
        await session.execute(insert_into(session, LedgerReading).values(id=1, pass_wanted_at=START))
    assert await keeper.work_once() == 0
    await keeper.settle(said("canceled", 11))
    assert (await row(desk)).state == "active"
    async with desk.database.transaction() as session:
        await session.execute(update(LedgerReading).values(pass_wanted_at=None))
    await _work(keeper)
    assert (await row(desk)).state == "canceled"


@pytest.mark.criterion("N3")
async def test_a_bug_in_one_holds_up_no_other(desk: Desk, keeper: SubscriptionKeeper) -> None:
    other = Person(6001)
    payload = SIGNER.sign(order("auto", other))
    await desk.take(paid(1))
    await desk.take(paid(1, payer=other, payload=payload, charge_id="other-1"))
    await desk.record(said("canceled", 11), said("canceled", 12, payload, other))
    async with desk.database.transaction() as session:
        odd = update(SubscriptionChange).where(SubscriptionChange.update_id == 11)
        await session.execute(odd.values(state="no such state"))
    with logged() as records:
        await _work(keeper)
    assert (await row(desk, other)).state == "canceled"
    assert [record["level"].name for record in records].count("ERROR") == 1
    async with desk.database.transaction() as session:
        await session.execute(odd.values(state="canceled"))
    desk.clock.advance(seconds=61)
    await _work(keeper)
    assert (await row(desk)).state == "canceled"


async def test_each_piece_shows_that_the_loop_goes_on(desk: Desk, keeper: SubscriptionKeeper) -> None:
    beats: list[float] = []

    def seconds() -> float:
        beats.append(0.0)
        return 0.0

    other = Person(6001)
    payload = SIGNER.sign(order("auto", other))
    await desk.take(paid(1))
    await desk.take(paid(1, payer=other, payload=payload, charge_id="other-1"))
    await desk.record(said("canceled", 11), said("canceled", 12, payload, other))
    keeper.loop.pulse = Pulse(seconds)
    await keeper.work_once()
    assert len(beats) == 3, "two subscriptions, and the reminders"


@pytest.mark.criterion("N3")
@pytest.mark.parametrize("is_settled", [False, True], ids=["what was told", "what time has changed"])
async def test_as_many_as_are_looked_at_at_once_that_fail_by_a_bug_hold_up_no_other(
    desk: Desk, bot: Bot, *, is_settled: bool
) -> None:
    keeper = _keeper(desk, bot, batch_max=1)
    other = Person(6001)
    payload = SIGNER.sign(order("auto", other))
    await desk.take(paid(1))
    await desk.take(paid(1, payer=other, payload=payload, charge_id="other-1", at=START + timedelta(hours=1)))
    await desk.record(said("canceled", 11), said("canceled", 12, payload, other))
    async with desk.database.transaction() as session:
        odd = update(SubscriptionChange).where(SubscriptionChange.update_id == 11)
        await session.execute(odd.values(state="no such state"))
        if is_settled:
            await session.execute(update(SubscriptionChange).values(settled_at=START))
            desk.clock.now = START + MONTH + timedelta(days=3)
    for _ in range(2):
        await keeper.work_once()
    assert (await row(desk, other)).state == ("ended" if is_settled else "canceled")


@pytest.mark.criterion("N3")
async def test_a_proxy_that_answers_in_telegrams_place_is_a_failed_attempt(desk: Desk) -> None:
    await desk.take(paid(1))
    async with proxy_that_answers() as proxy, talking_bot(proxy.url, TOKEN) as bot:
        keeper = _keeper(desk, bot)
        async with desk.database.transaction() as session:
            record_wanted_renewal(
                await session.merge(await row(desk)), Renewal.CANCELED, RenewalReason.BUYER, desk.clock()
            )
        await _work(keeper)
    waiting = await row(desk)
    assert (waiting.attempts, waiting.claimed_until) == (1, None)
    assert waiting.error == "ClientDecodeError: JSONDecodeError"
    assert waiting.due_at is not None
    assert waiting.due_at > desk.clock()


@pytest.mark.criterion("N3")
async def test_a_settled_charge_of_which_something_is_learned_stays_settled_whatever_fails(desk: Desk) -> None:
    await desk.take(in_ledger(paid(1)))
    await desk.record(paid(1))
    async with desk.database.transaction() as session:
        event = await events.lock(session, "sub-1")
        assert event is not None
        assert transitions.is_open(event)
        assert transitions.fail(event, "a bug", desk.clock(), 0)
    event = await desk.event("sub-1")
    assert (event.status, event.outcome, event.error) == (EventStatus.PROCESSED, EventOutcome.GRANTED, "a bug")
    async with desk.database.transaction() as session:
        event = await events.lock(session, "sub-1")
        assert event is not None
        assert not transitions.fail(event, "a bug", desk.clock(), 0, attempts_max=1)
    event = await desk.event("sub-1")
    assert (event.status, event.outcome, event.due_at) == (EventStatus.PROCESSED, EventOutcome.GRANTED, None)
    one_time = charge()
    await desk.take(in_ledger(one_time))
    await desk.record(one_time)
    assert not transitions.is_open(await desk.event("charge-1")), "nothing of a one-time plan changes by its flags"
