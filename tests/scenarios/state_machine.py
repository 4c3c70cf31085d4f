"""Any order of payments, refunds, faults and deaths: a hypothesis state machine over a shop (faulty_shop.py)."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from random import Random
from typing import Any, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from db.states import Renewal
from sandbox.faults import FaultKind
from sandbox.shapes import Json
from tests.conftest import Databases
from tests.scenarios.card_sales import PART
from tests.scenarios.faulty_shop import HOUR_SECONDS, Shop, running_shop

T = TypeVar("T")

TAKES_MAX: Final = 50

_WHICH = st.integers(0, 5)
_DIES_IN = st.one_of(st.just(0), st.just(0), st.integers(1, 25))
_METHODS = st.sampled_from(["sendMessage", "refundStarPayment", "editUserStarSubscription"])
_BROKEN = st.sampled_from([FaultKind.CUT_BEFORE, FaultKind.ANSWER_LOST, FaultKind.RETRY_AFTER, FaultKind.SERVER_ERROR])
_MONEY = st.sampled_from(["successful_payment", "refunded_payment", "subscription"])
_BUYER = st.integers(0, 1)


class ShopMachine(RuleBasedStateMachine):
    """The rules; `databases` makes a migrated database for each run, and is set by whoever runs the machine."""

    databases: Databases
    runs = 0
    deaths = 0
    payments = 0

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self.shop: Shop
        self.has_ledger: bool

    def _do(self, step: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(step)

    @initialize(has_ledger=st.booleans())
    def open(self, has_ledger: bool) -> None:  # noqa: FBT001 - hypothesis hands it in by name
        # Telegram's ledger mends what updates alone have to bring about: half of the shops do not look at it.
        self.has_ledger = has_ledger
        self._do(self._open())

    async def _open(self) -> None:
        url = await self._stack.enter_async_context(type(self).databases())
        self.shop = await self._stack.enter_async_context(running_shop(url))

    @rule(buyer=_BUYER, code=st.sampled_from(["month", "month", "bundle", "life"]))
    def pay(self, buyer: int, code: str) -> None:
        self._do(self.shop.pay(buyer, code))

    @rule(buyer=_BUYER, times=st.integers(1, 3))
    def pay_again(self, buyer: int, times: int) -> None:
        for _ in range(times):
            self._do(self.shop.pay(buyer, "month"))

    @rule(which=_WHICH)
    def request_refund(self, which: int) -> None:
        self._do(self.shop.request_refund(which))

    @rule(which=_WHICH)
    def refund_elsewhere(self, which: int) -> None:
        self._do(self.shop.refund_elsewhere(which))

    @rule(buyer=_BUYER)
    def subscribe(self, buyer: int) -> None:
        self._do(self.shop.subscribing.subscribe(buyer))

    @rule(which=_WHICH)
    def pay_a_link_again(self, which: int) -> None:
        self._do(self.shop.subscribing.pay_again(which))

    @rule(which=_WHICH, fails=st.booleans())
    def renew(self, which: int, fails: bool) -> None:  # noqa: FBT001 - hypothesis hands it in by name
        self._do(self.shop.subscribing.renew(which, fails=fails))

    @rule(which=_WHICH, is_canceled=st.booleans())
    def change_in_telegram(self, which: int, is_canceled: bool) -> None:  # noqa: FBT001 - the same
        self._do(self.shop.subscribing.change(which, is_canceled=is_canceled))

    @rule(which=_WHICH, renewal=st.sampled_from([Renewal.CANCELED, Renewal.CANCELED, Renewal.ALLOWED]))
    def press_below_status(self, which: int, renewal: Renewal) -> None:
        self._do(self.shop.subscribing.wish(which, renewal))

    @rule(buyer=_BUYER)
    def pay_by_card(self, buyer: int) -> None:
        self._do(self.shop.cards.pay(buyer))

    @rule(which=_WHICH)
    def ask_card_refund(self, which: int) -> None:
        self._do(self.shop.cards.request_refund(which))

    @rule(which=_WHICH, amount=st.sampled_from([None, PART, PART]))
    def give_back_at_stripe(self, which: int, amount: int | None) -> None:
        self._do(self.shop.cards.give_back(which, amount))

    @rule(which=_WHICH)
    def send_back_by_bank(self, which: int) -> None:
        self._do(self.shop.cards.send_back(which))

    @rule(which=_WHICH)
    def lose_dispute(self, which: int) -> None:
        self._do(self.shop.cards.lose_dispute(which))

    @rule(dies_in=_DIES_IN)
    def read_stripe(self, dies_in: int) -> None:
        self._do(self.shop.mortally(self.shop.read_stripe, dies_in))

    @rule(which=_WHICH)
    def redeliver(self, which: int) -> None:
        self._do(self.shop.redeliver(which))

    @precondition(lambda self: self.has_ledger)
    @rule(kind=_MONEY)
    def drop(self, kind: str) -> None:
        self._record_cards()
        self._do(self.shop.client.lose_updates(kind=kind))

    @rule(kind=_MONEY)
    def double(self, kind: str) -> None:
        self._do(self.shop.client.double_updates(kind=kind))

    @rule(method=_METHODS, kind=_BROKEN)
    def break_calls(self, method: str, kind: FaultKind) -> None:
        self._do(self.shop.break_calls(method, kind))

    @rule()
    def mend_calls(self) -> None:
        self._do(self.shop.client.clear_faults())

    @rule(hours=st.integers(1, 5))
    def pass_time(self, hours: int) -> None:
        # Telegram drops an update after a day (Bot API, getUpdates), and without a ledger none may be lost.
        self._take_all()
        self._do(self.shop.client.move_clock(hours * HOUR_SECONDS))

    @precondition(lambda self: self.has_ledger)
    @rule(hours=st.sampled_from([30, 24 * 31]))
    def pass_days(self, hours: int) -> None:
        self._record_cards()
        # Stripe lists an event for 30 days (Stripe API, list all events); a longer gap is told to the admins.
        self._do(self.shop.read_stripe())
        self._do(self.shop.client.move_clock(hours * HOUR_SECONDS))

    def _record_cards(self) -> None:
        # No ledger tells of a lost payment by card: a person is told to look at it (payments/stripe/lost_payments.py).
        if not self._do(self.shop.cards.are_on_record()):
            self._take_all()

    def _take_all(self) -> None:
        # Telegram gives a poll that repeats an offset within half a second one update alone (sandbox/polling.py).
        for _ in range(TAKES_MAX):
            self.take(0, is_handled=False, dies_in=0)
            if not self._do(self.shop.client.updates_waiting()):
                return
        raise AssertionError("updates go on waiting")

    @rule(seed=st.integers(0, 5), is_handled=st.booleans(), dies_in=_DIES_IN)
    def take(self, seed: int, is_handled: bool, dies_in: int) -> None:  # noqa: FBT001 - hypothesis hands it in by name
        def shuffle(money: list[Json]) -> None:
            Random(seed).shuffle(money)  # noqa: S311 - a reordering, no secret

        self._do(self.shop.mortally(lambda: self.shop.take(shuffle, is_handled=is_handled), dies_in))

    @rule(dies_in=_DIES_IN)
    def work(self, dies_in: int) -> None:
        self._do(self.shop.mortally(self.shop.life.work, dies_in))

    @rule(dies_in=_DIES_IN)
    def deliver(self, dies_in: int) -> None:
        self._do(self.shop.mortally(self.shop.life.deliver, dies_in))

    @rule()
    def do_what_is_due(self) -> None:
        self._do(self.shop.take(lambda _: None, is_handled=True))
        self._do(self.shop.life.work())
        self._do(self.shop.life.deliver())

    @precondition(lambda self: self.has_ledger)
    @rule(dies_in=_DIES_IN)
    def reconcile(self, dies_in: int) -> None:
        self._do(self.shop.mortally(self.shop.reconcile, dies_in))

    @rule()
    def crash(self) -> None:
        self._do(self.shop.crash())

    @invariant()
    def books_are_right(self) -> None:
        self._do(self.shop.check())

    def teardown(self) -> None:
        try:
            self._do(self._heal())
        finally:
            self._do(self._stack.aclose())
            self._loop.close()

    async def _heal(self) -> None:
        await self.shop.heal(has_ledger=self.has_ledger)
        machine = type(self)
        machine.runs += 1
        machine.deaths += self.shop.deaths
        machine.payments += len(await self.shop.client.charges()) + len(await self.shop.client.card_charges())
