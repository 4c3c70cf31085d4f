"""The lanes of updates: pre-checkouts run at once, money has a queue, and users take turns with their chatter.

Every lane has a bound. A payment that finds its lane full is on record already, and the worker settles it; the lanes
drop chatter that finds its lane full.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Final

from aiogram.types import Update
from loguru import logger

from payments.audit.facts import Fact

PRE_CHECKOUTS_MAX: Final = 300
PRE_CHECKOUTS_PER_ACCOUNT_MAX: Final = 30
"""payments/checkout.py decides three of one account at once and declines the others; the lane is for every account."""
MONEY_MAX: Final = 20
"""A few payments are settled at once, each by itself; of more, the worker settles 25 in one transaction, which is
cheaper (payments/settlement/batch.py)."""
MONEY_HANDLERS: Final = 4
CHATTER_MAX: Final = 1_000
CHATTER_PER_USER_MAX: Final = 10
CHATTER_HANDLERS: Final = 8

Feed = Callable[[Update, Fact | None], Awaitable[None]]


class _FairQueue:
    """A bounded queue of updates in which users take turns; one update of a user is under way at a time."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, deque[Update]] = OrderedDict()
        self._busy: dict[int, deque[Update]] = {}
        self._ready = asyncio.Semaphore(0)
        self._size = 0
        self.idle = asyncio.Event()
        self.idle.set()

    def put(self, user_id: int, update: Update) -> bool:
        queue = self._busy.get(user_id, self._waiting.get(user_id))
        if queue is None:
            queue = deque()
        if self._size >= CHATTER_MAX or len(queue) >= CHATTER_PER_USER_MAX:
            return False
        queue.append(update)
        self._size += 1
        self.idle.clear()
        if user_id not in self._busy and user_id not in self._waiting:
            self._waiting[user_id] = queue
            self._ready.release()
        return True

    async def take(self) -> tuple[int, Update]:
        await self._ready.acquire()
        user_id, queue = self._waiting.popitem(last=False)
        self._busy[user_id] = queue
        self._size -= 1
        return user_id, queue.popleft()

    def done(self, user_id: int) -> None:
        queue = self._busy.pop(user_id)
        if queue:
            self._waiting[user_id] = queue
            self._ready.release()
        elif not self._waiting and not self._busy:
            self.idle.set()


class Lanes:
    """Runs `feed` for each update, in its lane, from `start` to `close`."""

    def __init__(self, feed: Feed, on_full: Callable[[], None]) -> None:
        """Prepare the lanes; they call `on_full` for each payment that they leave to the worker."""
        self._feed = feed
        self._on_full = on_full
        self._pre_checkouts: set[asyncio.Task[None]] = set()
        self._by_account: Counter[int] = Counter()
        self._money: asyncio.Queue[tuple[Update, Fact]] = asyncio.Queue(MONEY_MAX)
        self._chatter = _FairQueue()
        self._handlers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the handlers of the lanes in the running event loop."""
        self._handlers = [asyncio.create_task(self._handle_money()) for _ in range(MONEY_HANDLERS)]
        self._handlers += [asyncio.create_task(self._handle_chatter()) for _ in range(CHATTER_HANDLERS)]

    def pre_checkout(self, update: Update) -> None:
        """Handle a pre-checkout query at once; drop one past the bound, which Telegram's time-out then declines."""
        if len(self._pre_checkouts) >= PRE_CHECKOUTS_MAX:
            logger.warning("a pre-checkout query was dropped: {} are under way", PRE_CHECKOUTS_MAX)
            return
        account = update.pre_checkout_query.from_user.id if update.pre_checkout_query else 0
        if account and self._by_account[account] >= PRE_CHECKOUTS_PER_ACCOUNT_MAX:
            bound = logger.bind(telegram_id=account)
            bound.warning("a pre-checkout query was dropped: {} of one account", PRE_CHECKOUTS_PER_ACCOUNT_MAX)
            return
        task = asyncio.create_task(self._serve(update, None))
        self._pre_checkouts.add(task)
        self._by_account[account] += 1
        task.add_done_callback(lambda task: self._ended(task, account))

    def _ended(self, task: asyncio.Task[None], account: int) -> None:
        self._pre_checkouts.discard(task)
        self._by_account[account] -= 1
        if not self._by_account[account]:
            del self._by_account[account]

    def money(self, update: Update, fact: Fact) -> None:
        """Queue an update whose money is on record, with its fact; leave one beyond the bound to the worker."""
        try:
            self._money.put_nowait((update, fact))
        except asyncio.QueueFull:
            bound = logger.bind(charge_id=fact.charge_id, telegram_id=fact.person.telegram_id)
            bound.debug("the payments' lane is full: the worker settles this one")
            self._on_full()

    def chatter(self, user_id: int, update: Update) -> bool:
        """Queue a user's update without money; False: the lane is full and drops it."""
        return self._chatter.put(user_id, update)

    async def close(self, seconds: float) -> None:
        """Finish the updates in all lanes within so many seconds, and cancel the rest."""
        try:
            async with asyncio.timeout(seconds):
                await self._money.join()
                await self._chatter.idle.wait()
                await asyncio.gather(*self._pre_checkouts)
        except TimeoutError:
            logger.warning("stopping: some updates were not answered within {} s", seconds)
        for task in (*self._handlers, *self._pre_checkouts):
            task.cancel()
        await asyncio.gather(*self._handlers, *self._pre_checkouts, return_exceptions=True)

    async def _handle_money(self) -> None:
        while True:
            update, fact = await self._money.get()
            await self._serve(update, fact)
            self._money.task_done()

    async def _handle_chatter(self) -> None:
        while True:
            user_id, update = await self._chatter.take()
            await self._serve(update, None)
            self._chatter.done(user_id)

    async def _serve(self, update: Update, fact: Fact | None) -> None:
        try:
            await self._feed(update, fact)
        except Exception as error:  # noqa: BLE001 - one update's bug must not end the lane
            logger.bind(update_id=update.update_id).opt(exception=error).error("an update could not be handled")
