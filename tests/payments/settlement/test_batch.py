"""A backlog settled in batches ends as it does one by one, whatever fails, dies or waits beside it."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, func, select

from db.engine import Database, Priority
from db.states import EventOutcome, EventStatus
from db.tables import Base, OutboxMessage, StripeEvent, User
from db.timings import Timings
from payments.audit import events
from payments.audit.facts import ChargeFact, MoneyFact, Person
from payments.channel import RefundOrder
from payments.errors import UnrecordableError
from payments.methods import STARS
from payments.notices import Notice
from payments.pause import Pause
from payments.refunds.sending import RefundSender
from payments.settlement.batch import BATCH_ROWS, divide
from payments.settlement.worker import Worker
from tests.conftest import Databases
from tests.support.clock import START, FakeClock
from tests.support.desk import Desk
from tests.support.logs import logged
from tests.support.money import BUYER, STRANGER, charge, refund
from tests.support.obstacles import locked_user, refusing
from tests.support.samples import added
from tests.support.statements import statements
from tests.support.subscription_facts import in_ledger, paid
from tests.support.waiting import WAIT_SECONDS

pytestmark = pytest.mark.engines("sqlite", "postgresql")

STORIES: Final = 4
"""Stories that one test tells on a pair of databases, each of people of its own."""
STATEMENTS_MAX: Final = 200
WRITTEN_AT_RANDOM: Final = {"id", "attempt_key", "due_at", "user_id", "customer_id"}
"""Columns in which two desks differ: keys, a backoff's jitter; users have their Telegram ids instead."""


class WillingChannel:
    """A provider that makes each refund at once."""

    method = STARS

    def __init__(self) -> None:
        self.made: list[str] = []

    async def refund(self, order: RefundOrder) -> None:
        self.made.append(order.charge_id)


def worker_of(desk: Desk, channel: WillingChannel | None = None) -> Worker:
    channels = {STARS.name: channel or WillingChannel()}
    sender = RefundSender(desk.database, channels, desk.clock)
    return Worker(desk.database, desk.settlement, sender, desk.clock, on_progress=lambda: None, pause=Pause(desk.clock))


@pytest.fixture
async def desks(databases: Databases) -> AsyncIterator[tuple[Desk, Desk]]:
    """Give two desks with a database each, on one clock."""
    clock = FakeClock()
    async with databases() as one, databases() as other:
        opened = Database(one), Database(other)
        yield Desk(opened[0], clock), Desk(opened[1], clock)
        for each in opened:
            await each.dispose()


def _people(count: int, first: int = 6000) -> list[Person]:
    return [Person(first + number) for number in range(count)]


def _story(draw: random.Random, people: list[Person]) -> list[list[MoneyFact]]:
    """Return what becomes known of people's charges and refunds, in three rounds: all kinds, in any order."""
    facts: list[MoneyFact] = []
    for number, person in enumerate(people):
        for turn in range(draw.choice([1, 1, 1, 2, 3])):
            charge_id = f"{person.telegram_id}-{turn}"
            at = START - draw.choice([0, 0, 1, 5, 50, 200]) * timedelta(hours=1)
            charged = charge(charge_id, draw.choice(["month", "month", "bundle", "life", "old"]), payer=person, at=at)
            kind = draw.choice(["plain"] * 5 + ["amount", "foreign", "not theirs", "month of a subscription"])
            if kind == "amount":
                charged = replace(charged, amount=charged.amount + 1)
            elif kind == "foreign":
                charged = replace(charged, payload="another program's")
            elif kind == "not theirs":
                charged = charge(charge_id, payer=person, buyer=people[number - 1], at=at)
            elif kind == "month of a subscription":
                payload = charge(code="auto", payer=person).payload
                charged = paid(turn + 1, payload=payload, payer=person, charge_id=charge_id)
                charged = draw.choice([charged, in_ledger(charged)])
                facts += draw.choice([[], [in_ledger(charged)]])
            facts.append(charged)
            facts += _refunds(draw, charged, people[number - 1])
    draw.shuffle(facts)
    cuts = sorted(draw.choices(range(len(facts) + 1), k=2))
    return [facts[: cuts[0]], facts[cuts[0] : cuts[1]], facts[cuts[1] :]]


def _refunds(draw: random.Random, charged: ChargeFact, other: Person) -> list[MoneyFact]:
    """Return the refunds that become known of a charge: none, the true one, or one that contradicts it."""
    told = refund(charged, at=charged.happened_at + timedelta(minutes=5))
    return draw.choice([[], [], [], [told], [replace(told, amount=told.amount + 7)], [replace(told, person=other)]])


async def _end(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Return all rows, without what differs from desk to desk, and with Telegram's ids for users."""
    async with database.reading() as session:
        names = {user.id: user.telegram_id for user in await session.scalars(select(User))}
        found: dict[str, list[dict[str, Any]]] = {}
        for table in Base.metadata.sorted_tables:
            rows = [dict(row._mapping) for row in await session.execute(select(table))]
            for row in rows:
                row["whose"] = names.get(str(row.get("user_id") or row.get("customer_id") or row.get("id")))
                row["is_due"] = row.get("due_at") is not None
                for column in WRITTEN_AT_RANDOM & row.keys():
                    del row[column]
            found[table.name] = sorted(rows, key=repr)
    return found


async def _settle_one_by_one(desk: Desk, worker: Worker) -> None:
    while True:
        async with desk.database.reading() as session:
            due = await events.due(session, desk.clock(), 50, but=())
        if not due:
            return
        for event_id in due:
            await worker.process(event_id)


async def _settle_in_batches(worker: Worker) -> None:
    while await worker.work_once():
        pass


@pytest.mark.criterion("C3", "R1", "R4", "S9")
@pytest.mark.parametrize("seed", range(4))
async def test_batches_end_as_one_by_one(desks: tuple[Desk, Desk], seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - a story, no secret
    single, together = desks
    alone, batching = worker_of(single), worker_of(together)
    stories = [_story(draw, _people(draw.randint(3, 8), 6000 + 100 * number)) for number in range(STORIES)]
    for facts in zip(*stories, strict=True):
        told = list(itertools.chain(*facts))
        for desk in desks:
            for fact in told:
                # A refund that contradicts another one goes to quarantine.
                with contextlib.suppress(UnrecordableError):
                    await desk.record(fact)
        await _settle_one_by_one(single, alone)
        await _settle_in_batches(batching)
        single.clock.advance(minutes=10)
    assert await _end(together.database) == await _end(single.database)
    async with single.database.reading() as session:
        outcomes = set(await session.scalars(select(StripeEvent.outcome)))
    assert outcomes >= {EventOutcome.GRANTED, EventOutcome.REFUNDED, EventOutcome.PARKED}


@pytest.mark.engines("sqlite")
@given(
    users=st.lists(st.sampled_from("abcdef"), max_size=40),
    rows_max=st.integers(1, 7),
)
def test_a_batch_has_each_user_once_and_a_users_rows_stay_in_order(users: list[str], rows_max: int) -> None:
    user_ids = {str(number): user for number, user in enumerate(users)}
    batches = list(divide(user_ids, user_ids, rows_max))
    assert all(0 < len(batch) <= rows_max for batch in batches)
    assert all(len({user_ids[each] for each in batch}) == len(batch) for batch in batches)
    in_order = list(itertools.chain(*batches))
    assert sorted(in_order) == sorted(user_ids)
    for user in set(users):
        assert [int(each) for each in in_order if user_ids[each] == user] == [
            number for number, whose in enumerate(users) if whose == user
        ]


async def test_a_backlog_costs_one_commit_a_batch(desk: Desk) -> None:
    people = _people(BATCH_ROWS)
    await desk.record(*(charge(str(person.telegram_id), payer=person) for person in people))
    commits = 0

    def count(_: object) -> None:
        nonlocal commits
        commits += 1

    event.listen(desk.database._writer.sync_engine, "commit", count)
    with statements(desk.database) as said:
        assert await worker_of(desk).work_once() == BATCH_ROWS
    # PostgreSQL's readers share the pool: the gate with what is due, and the users of it.
    assert commits == (1 if desk.database.is_sqlite else 3)
    assert sum("FROM users" in each and "SELECT users.id" in each for each in said) == 1
    assert all([await desk.holds(person=person) for person in people])


@pytest.mark.criterion("E5", "O6")
async def test_one_failing_row_of_a_batch_is_noted_once_and_the_others_settle(desk: Desk) -> None:
    people = _people(BATCH_ROWS)
    await desk.record(*(charge(str(person.telegram_id), payer=person) for person in people))
    bad = str(people[7].telegram_id)
    refused = f"NEW.source = '{STARS.source(bad)}'"
    with added() as counted, logged("ERROR") as records:
        async with refusing(desk.database, "INSERT", "entitlement_grants", when=refused):
            assert await worker_of(desk).work_once() == BATCH_ROWS
    failed = await desk.event(bad)
    assert (failed.status, failed.attempts) == (EventStatus.FAILED, 1)
    assert [record["extra"]["event_id"] for record in records] == [bad]
    assert counted["starledger_failed_attempts_total{event=charge}"] == 1
    granted = "starledger_payments_total{channel=telegram_stars,outcome=granted}"
    assert counted[granted] == BATCH_ROWS - 1
    told = await desk.told()
    assert sorted(told) == sorted((Notice.GRANTED, each.telegram_id) for each in people if each is not people[7])
    desk.clock.advance(minutes=1)
    assert await worker_of(desk).work_once() == 1
    assert all([await desk.holds(person=person) for person in people])


@pytest.mark.criterion("R1", "S8")
async def test_refund_to_be_sent_is_sent_with_no_transaction_open(desk: Desk) -> None:
    people = _people(4)
    channel = WillingChannel()
    await desk.record(*(charge(str(person.telegram_id), payer=person) for person in people))
    worker = worker_of(desk, channel)
    assert await worker.work_once() == 4
    for person in people[:2]:
        await desk.request_refund(str(person.telegram_id))
    await desk.record(refund(charge(str(people[2].telegram_id), payer=people[2])))
    in_use: list[int] = []
    make = channel.refund

    async def watched(order: RefundOrder) -> None:
        in_use.extend(taken for taken, _ in desk.database.pools().values())
        await make(order)

    channel.refund = watched  # type: ignore[method-assign]  # watches the pools during the call
    assert await worker.work_once() == 3
    assert sorted(channel.made) == [str(person.telegram_id) for person in people[:2]]
    assert set(in_use) == {0}
    assert [await desk.holds(person=person) for person in people] == [False, False, False, True]


class DeathError(BaseException):
    """The process dies here."""


@asynccontextmanager
async def _dying(database: Database, dies_in: int) -> AsyncIterator[Callable[[], bool]]:
    """Let the process die at its n-th statement or commit in the block; give whether it has."""
    left = dies_in

    def step(*_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise DeathError

    for engine in {each.sync_engine for each in (database._writer, database._reader, database._urgent)}:
        event.listen(engine, "before_cursor_execute", step)
        event.listen(engine, "commit", step)
    yield lambda: left <= 0


@pytest.mark.criterion("C3", "S8")
async def test_death_at_any_statement_or_commit_of_a_batch_changes_nothing(desk: Desk, database_url: str) -> None:
    for dies_in in range(1, STATEMENTS_MAX):
        people = _people(3, 7000 + 10 * dies_in)
        facts = [charge(str(person.telegram_id), payer=person) for person in people]
        await desk.record(*facts, refund(facts[0]))
        mortal = Desk(Database(database_url), desk.clock)
        async with _dying(mortal.database, dies_in) as has_died:
            try:
                await worker_of(mortal).work_once()
            except DeathError:
                await mortal.database.dispose()
        heir = worker_of(desk)
        await heir.catch_up()
        await _settle_in_batches(heir)
        assert [await desk.holds(person=person) for person in people] == [False, True, True]
        for person, fact in zip(people, facts, strict=True):
            kinds = [notice for notice, chat_id in await desk.told() if chat_id == person.telegram_id]
            assert sorted(kinds) == ([Notice.GRANTED] if fact is not facts[0] else [Notice.REFUNDED])
            assert (await desk.event(fact.event_id)).outcome == EventOutcome.GRANTED
        if not has_died():
            await mortal.database.dispose()
            assert dies_in > 20
            return
    pytest.fail(f"a batch has more than {STATEMENTS_MAX} statements")


@pytest.mark.criterion("C3", "S9", "S10")
async def test_two_processes_that_settle_one_backlog_neither_deadlock_nor_double(desk: Desk, database_url: str) -> None:
    patient = Timings(sqlite_busy_seconds=WAIT_SECONDS)
    both = [Desk(Database(database_url, patient), desk.clock) for _ in range(2)]
    people = _people(25)
    facts = [charge(f"{person.telegram_id}-{turn}", payer=person) for turn in range(4) for person in people]
    await desk.record(*facts, *(refund(fact) for fact in facts[:5]))
    with logged("WARNING") as records:
        await asyncio.gather(*(_settle_in_batches(worker_of(each)) for each in (*both, *both)))
    assert records == []
    for number, person in enumerate(people):
        assert await desk.expires_at(person=person) == START + timedelta(days=30 * (3 if number < 5 else 4))
    async with desk.database.reading() as session:
        assert await events.due(session, desk.clock(), 1, but=()) == []
    told = await _ids_told(desk.database)
    assert len(told) == len(set(told))
    assert {event_id for event_id, _, _ in told} >= {fact.event_id for fact in facts[5:]}
    for each in both:
        await each.database.dispose()


async def _ids_told(database: Database) -> list[tuple[str, str, int]]:
    async with database.reading() as session:
        return [(row.event_id, row.kind, row.chat_id) for row in await session.scalars(select(OutboxMessage))]


@pytest.mark.criterion("E2", "S9")
@pytest.mark.engines("postgresql")
async def test_a_batch_leaves_a_locked_user_out_and_waits_for_nobody(desk: Desk, database_url: str) -> None:
    desk.clock.advance(minutes=1)
    await desk.record(*(charge(str(person.telegram_id), payer=person) for person in (BUYER, STRANGER, *_people(3))))
    worker = worker_of(desk)
    async with locked_user(database_url, BUYER.telegram_id):
        ids = [str(person.telegram_id) for person in (BUYER, STRANGER, *_people(3))]
        settled = await worker._batches.settle(ids)
    assert [each.event.event_id for each in settled] == ids[1:]
    assert await worker.work_once() == 1


@pytest.mark.criterion("L2", "S9")
@pytest.mark.engines("sqlite")
async def test_pre_checkout_gets_its_turn_after_the_batch_under_way(desk: Desk) -> None:
    people = _people(2 * BATCH_ROWS)
    await desk.record(*(charge(str(person.telegram_id), payer=person) for person in people))
    settled_before: list[int] = []
    asked: list[asyncio.Task[None]] = []

    async def ask() -> None:
        async with desk.database.transaction(Priority.PRE_CHECKOUT) as session:
            query = select(func.count(StripeEvent.id)).where(StripeEvent.status == EventStatus.PROCESSED)
            settled_before.append(await session.scalar(query) or 0)

    loop = asyncio.get_running_loop()

    def begin(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "entitlement_grants" in statement and not asked:
            asked.append(loop.create_task(ask()))

    event.listen(desk.database._writer.sync_engine, "before_cursor_execute", begin)
    assert await worker_of(desk).work_once() == len(people)
    await asyncio.wait_for(asked[0], WAIT_SECONDS)
    assert settled_before == [BATCH_ROWS]
