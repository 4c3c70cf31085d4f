"""The order of the lanes, with handlers that a test holds and releases."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiogram.types import PreCheckoutQuery, Update, User

from bot.poll.lanes import (
    CHATTER_HANDLERS,
    CHATTER_MAX,
    CHATTER_PER_USER_MAX,
    MONEY_HANDLERS,
    MONEY_MAX,
    PRE_CHECKOUTS_MAX,
    PRE_CHECKOUTS_PER_ACCOUNT_MAX,
    Lanes,
)
from payments.audit.facts import Fact
from tests.support.logs import logged
from tests.support.money import BUYER, charge
from tests.support.waiting import WAIT_SECONDS, until

FLOODER = 666


class Handlers:
    """Handles an update when the gate is open: `begun` and `ended` have the ids of the updates, in order."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.broken: set[int] = set()
        self.left_to_worker = 0
        self.lanes = Lanes(self._feed, self._on_full)

    def _on_full(self) -> None:
        self.left_to_worker += 1

    async def _feed(self, update: Update, _: Fact | None) -> None:
        self.begun.append(update.update_id)
        await self.gate.wait()
        if update.update_id in self.broken:
            raise RuntimeError("a bug")
        self.ended.append(update.update_id)

    async def until_begun(self, count: int) -> None:
        async def are_begun() -> bool:
            return len(self.begun) >= count

        await until(are_begun)


@pytest_asyncio.fixture
async def handlers() -> AsyncIterator[Handlers]:
    handlers = Handlers()
    handlers.lanes.start()
    yield handlers
    handlers.gate.set()
    await handlers.lanes.close(WAIT_SECONDS)


def _update(update_id: int) -> Update:
    return Update(update_id=update_id)


def _pre_checkout(update_id: int, telegram_id: int) -> Update:
    payer = User(id=telegram_id, is_bot=False, first_name="Ann")
    query = PreCheckoutQuery(id="1", from_user=payer, currency="XTR", total_amount=1, invoice_payload="p")
    return Update(update_id=update_id, pre_checkout_query=query)


@pytest.mark.criterion("L4")
async def test_flooding_user_is_dropped_and_others_are_served_in_turn(handlers: Handlers) -> None:
    """Updates are numbered by their user: 5,003 is the third of user 5."""
    taken = Counter[int]()
    for n in range(10_000):
        taken[FLOODER] += handlers.lanes.chatter(FLOODER, _update(FLOODER * 1000 + n % 1000))
    assert taken[FLOODER] == CHATTER_PER_USER_MAX
    users = range(1, 41)
    for user in users:
        for n in range(3):
            taken[user] += handlers.lanes.chatter(user, _update(user * 1000 + n))
    assert all(taken[user] == 3 for user in users)
    handlers.gate.set()
    await handlers.lanes.close(WAIT_SECONDS)
    turns = [update_id // 1000 for update_id in handlers.ended]
    # Nobody has a second turn before each has had the first, the one who floods among them.
    assert set(turns[: len(users) + 1]) == {FLOODER, *users}
    for user in users:
        assert [update_id for update_id in handlers.ended if update_id // 1000 == user] == [
            user * 1000 + n for n in range(3)
        ]
    assert turns[-(CHATTER_PER_USER_MAX - 3) :] == [FLOODER] * (CHATTER_PER_USER_MAX - 3)


async def test_user_has_one_update_under_way_at_a_time(handlers: Handlers) -> None:
    for n in range(CHATTER_PER_USER_MAX):
        assert handlers.lanes.chatter(1, _update(n))
    handlers.lanes.chatter(2, _update(100))
    await handlers.until_begun(2)
    assert sorted(handlers.begun) == [0, 100]
    # An update under way no longer waits: there is room for one more, and not for two.
    assert handlers.lanes.chatter(1, _update(10))
    assert not handlers.lanes.chatter(1, _update(11))


@pytest.mark.criterion("L4")
async def test_chatter_is_bounded_and_holds_up_no_money(handlers: Handlers) -> None:
    taken = sum(handlers.lanes.chatter(user, _update(user)) for user in range(1, CHATTER_MAX + CHATTER_HANDLERS + 1))
    assert taken == CHATTER_MAX
    await handlers.until_begun(CHATTER_HANDLERS)
    handlers.lanes.money(_update(-1), charge())
    handlers.lanes.pre_checkout(_update(-2))
    await handlers.until_begun(CHATTER_HANDLERS + 2)
    assert set(handlers.begun[-2:]) == {-1, -2}


@pytest.mark.criterion("L4")
async def test_a_hundred_who_flood_hold_up_no_payer_and_fill_no_memory(handlers: Handlers) -> None:
    taken = Counter[int]()
    for n in range(100):
        for user in range(1, 101):
            taken[user] += handlers.lanes.chatter(user, _update(user * 1000 + n))
    assert set(taken.values()) == {CHATTER_PER_USER_MAX}
    await handlers.until_begun(CHATTER_HANDLERS)
    handlers.lanes.money(_update(-1), charge())
    handlers.lanes.pre_checkout(_update(-2))
    await handlers.until_begun(CHATTER_HANDLERS + 2)
    assert set(handlers.begun[-2:]) == {-1, -2}
    handlers.gate.set()
    await handlers.lanes.close(WAIT_SECONDS)
    assert Counter(update_id // 1000 for update_id in handlers.ended if update_id > 0) == taken


@pytest.mark.criterion("C1")
async def test_money_beyond_the_lane_is_left_to_the_worker_by_name(handlers: Handlers) -> None:
    with logged("DEBUG") as records:
        for n in range(MONEY_MAX):
            handlers.lanes.money(_update(n), charge(f"charge-{n}"))
        assert (records, handlers.left_to_worker) == ([], 0)
        handlers.lanes.money(_update(MONEY_MAX), charge("one-too-many"))
    assert handlers.left_to_worker == 1
    (said,) = records
    assert said["extra"] == {"charge_id": "one-too-many", "telegram_id": BUYER.telegram_id}
    assert "the worker settles this one" in said["message"]
    handlers.gate.set()
    await handlers.lanes.close(WAIT_SECONDS)
    assert sorted(handlers.ended) == list(range(MONEY_MAX))


async def test_pre_checkouts_wait_for_nobody_and_are_bounded(handlers: Handlers) -> None:
    with logged() as records:
        for n in range(PRE_CHECKOUTS_MAX + 1):
            handlers.lanes.pre_checkout(_update(n))
        await handlers.until_begun(PRE_CHECKOUTS_MAX)
    assert handlers.begun == list(range(PRE_CHECKOUTS_MAX))
    (said,) = records
    assert "a pre-checkout query was dropped" in said["message"]
    handlers.gate.set()

    async def are_ended() -> bool:
        return len(handlers.ended) == PRE_CHECKOUTS_MAX

    await until(are_ended)
    handlers.lanes.pre_checkout(_update(-1))
    await handlers.until_begun(PRE_CHECKOUTS_MAX + 1)


async def test_account_cannot_fill_the_lane_of_pre_checkouts(handlers: Handlers) -> None:
    flood = [_pre_checkout(n, BUYER.telegram_id) for n in range(PRE_CHECKOUTS_MAX)]
    for update in flood:
        handlers.lanes.pre_checkout(update)
    handlers.lanes.pre_checkout(_pre_checkout(-1, BUYER.telegram_id + 1))
    await handlers.until_begun(PRE_CHECKOUTS_PER_ACCOUNT_MAX + 1)
    assert handlers.begun == [*range(PRE_CHECKOUTS_PER_ACCOUNT_MAX), -1]
    handlers.gate.set()
    await handlers.lanes.close(WAIT_SECONDS)
    assert not handlers.lanes._by_account


@pytest.mark.criterion("E3", "O6")
async def test_exception_of_a_handler_ends_no_lane(handlers: Handlers) -> None:
    bugs = max(CHATTER_HANDLERS, MONEY_HANDLERS) + 1
    handlers.broken = set(range(3 * bugs))
    handlers.gate.set()
    with logged("ERROR") as records:
        for n in range(bugs):
            handlers.lanes.chatter(n, _update(n))
            handlers.lanes.money(_update(bugs + n), charge())
            handlers.lanes.pre_checkout(_update(2 * bugs + n))
        handlers.lanes.chatter(1, _update(1001))
        handlers.lanes.money(_update(1002), charge())
        handlers.lanes.pre_checkout(_update(1003))
        await handlers.lanes.close(WAIT_SECONDS)
    assert sorted(handlers.ended) == [1001, 1002, 1003]
    assert {record["extra"]["update_id"] for record in records} == handlers.broken
    assert all(record["exception"] is not None for record in records)


async def test_the_end_waits_for_what_was_taken(handlers: Handlers) -> None:
    for n in range(20):
        handlers.lanes.chatter(n % 3, _update(n))
        handlers.lanes.money(_update(100 + n), charge())
        handlers.lanes.pre_checkout(_update(200 + n))
    await handlers.until_begun(3 + MONEY_HANDLERS + 20)
    end = asyncio.create_task(handlers.lanes.close(WAIT_SECONDS))
    handlers.gate.set()
    await end
    assert sorted(handlers.ended) == [n + m for m in (0, 100, 200) for n in range(20)]


async def test_the_end_gives_up_what_hangs_and_says_so() -> None:
    handlers = Handlers()
    handlers.lanes.start()
    handlers.lanes.chatter(1, _update(1))
    handlers.lanes.money(_update(2), charge())
    handlers.lanes.pre_checkout(_update(3))
    await handlers.until_begun(3)
    with logged() as records:
        await handlers.lanes.close(0)
    assert len(records) == 1
    assert "some updates were not answered" in records[0]["message"]
    assert handlers.ended == []
