"""Decides pre-checkout queries in time, so that a buyer never waits behind anything, and deletes their old rows.

Telegram gives ten seconds (Bot API, answerPreCheckoutQuery). The desk checks the invoice without the database. Then one
transaction reads the buyer's access (for a subscription, also the running subscriptions) and writes the query's own
row, which proves that the desk could record a payment. At the deadline the desk declines an undecided query, in words.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from loguru import logger
from sqlalchemy import Select, delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.engine import Database, Priority
from db.errors import is_away
from db.insert import InsertConstant
from db.retry import retry_transaction
from db.states import STARS_CURRENCY, CheckoutVerdict
from db.tables import Checkout
from db.timings import PRODUCTION
from entitlements import EntitlementService
from payments.sale.catalog import Catalog
from payments.sale.eligibility import Payer, PurchaseObstacle, Sale, find_obstacle
from payments.sale.payload import PayloadSigner, PayloadVerdict
from payments.subscriptions import running

LATE_MAX: Final = 100
"""Undecided queries that may be under way; the desk declines one more at once."""
ACCOUNT_MAX: Final = 3
"""Undecided queries of one account; the desk declines one more at once, so that nobody else waits behind them."""

CHECKOUTS_KEPT_DAYS: Final = 90
"""The search for lost payments looks at no older pre-checkout (payments/stripe/lost_payments.py)."""
SWEEP_MAX: Final = 500
SWEEP_AGAIN: Final = timedelta(hours=1)
SWEEP_PAUSE_SECONDS: Final = 5.0
"""Pause between two batches, and between two looks at the clock."""

_NEW_CHECKOUT: Final = InsertConstant(Checkout, lambda insert: insert.on_conflict_do_nothing())

CheckoutAnswer = CheckoutVerdict | PurchaseObstacle
"""The answer to a pre-checkout query, stored in its row. All but ACCEPTED decline the query."""


@dataclass(frozen=True, slots=True)
class CheckoutQuery:
    """A pre-checkout query: the payer, the amount (minor units; Stars: Stars), and the payload of the invoice."""

    query_id: str
    telegram_id: int
    amount: int
    currency: str
    payload: str


class _WithdrawnError(Exception):
    """The desk has answered the query already, so the late transaction must leave nothing behind."""


class CheckoutDesk:
    """Decides pre-checkout queries within a deadline of `deadline_seconds`."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        signer: PayloadSigner,
        clock: Clock,
        deadline_seconds: float = PRODUCTION.checkout_seconds,
        *,
        sells_by_card: bool,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._signer = signer
        self._clock = clock
        self._deadline_seconds = deadline_seconds
        self._sells_by_card = sells_by_card
        self._under_way: set[asyncio.Task[CheckoutAnswer]] = set()
        self._by_account: Counter[int] = Counter()

    async def decide(self, query: CheckoutQuery) -> CheckoutAnswer:
        """Decide a pre-checkout query, and return the answer within the deadline, whatever the database does.

        1. Check the invoice without the database: its signature, its buyer, its plan, its price.
        2. Decline a query beyond LATE_MAX or ACCOUNT_MAX.
        3. In one transaction ask the rule of who may buy what, with what the buyer holds, and write the query's row.
        4. If the database is away or too slow, answer TRY_AGAIN, and leave no row that says yes.
        """
        sale = self._check_invoice(query)
        if not isinstance(sale, Sale):
            return sale
        account = query.telegram_id
        if len(self._under_way) >= LATE_MAX or self._by_account[account] >= ACCOUNT_MAX:
            logger.bind(telegram_id=account).warning("a pre-checkout was declined: too many are under way")
            return CheckoutVerdict.TRY_AGAIN
        withdrawn = asyncio.Event()
        task = asyncio.create_task(self._ask_database(query, sale, withdrawn))
        self._under_way.add(task)
        self._by_account[account] += 1
        task.add_done_callback(lambda task: self._ended(task, account))
        # asyncio.wait_for would wait for the cancelled work, which waits for the database.
        done, _ = await asyncio.wait({task}, timeout=self._deadline_seconds)
        if done:
            return task.result()
        withdrawn.set()
        logger.bind(telegram_id=query.telegram_id).warning("a pre-checkout was declined: the database is too slow")
        return CheckoutVerdict.TRY_AGAIN

    def _ended(self, task: asyncio.Task[CheckoutAnswer], account: int) -> None:
        self._under_way.discard(task)
        self._by_account[account] -= 1
        if not self._by_account[account]:
            del self._by_account[account]

    async def close(self) -> None:
        """Wait for the transactions of pre-checkouts that the desk has answered without them, until their time-outs."""
        if self._under_way:
            await asyncio.wait(self._under_way)

    def _check_invoice(self, query: CheckoutQuery) -> Sale | CheckoutAnswer:
        """Return the sale that an invoice offers, or the answer that declines it without asking the database."""
        reading = self._signer.read(query.payload)
        if reading.verdict is PayloadVerdict.OLD:
            return CheckoutVerdict.STALE_INVOICE
        order = reading.order
        if order is None:
            return CheckoutVerdict.UNKNOWN_INVOICE
        plan = self._catalog.get(order.plan)
        sale = Sale(plan, order.buyer_telegram_id, order.subscription)
        obstacle = find_obstacle(sale, Payer(query.telegram_id), is_paid=False)
        if plan is None or obstacle is not None:
            return obstacle or PurchaseObstacle.NOT_ON_SALE
        is_open = order.currency == STARS_CURRENCY or self._sells_by_card
        offered = (plan.price(order.currency) if is_open else None, plan.days, plan.subscription)
        signed = (order.amount, order.days, order.subscription)
        if signed != offered or (query.amount, query.currency) != (order.amount, order.currency):
            return CheckoutVerdict.STALE_INVOICE
        return sale

    async def _ask_database(self, query: CheckoutQuery, sale: Sale, withdrawn: asyncio.Event) -> CheckoutAnswer:
        try:
            answer = await self._read_and_write(query, sale, withdrawn)
            if withdrawn.is_set():
                await self._mark_late(query)
        except _WithdrawnError:
            return CheckoutVerdict.TRY_AGAIN
        except Exception as error:
            if not is_away(error):
                raise
            logger.bind(telegram_id=query.telegram_id).warning(
                "a pre-checkout was declined: the database is away ({})", type(error).__name__
            )
            return CheckoutVerdict.TRY_AGAIN
        return answer

    @retry_transaction
    async def _read_and_write(self, query: CheckoutQuery, sale: Sale, withdrawn: asyncio.Event) -> CheckoutAnswer:
        async with self._database.transaction(Priority.PRE_CHECKOUT) as session:
            _stop_if_answered(withdrawn)
            obstacle = await find_obstacle_on_record(session, sale, self._clock())
            answer = obstacle or CheckoutVerdict.ACCEPTED
            await self._write_row(session, query, answer)
            _stop_if_answered(withdrawn)
        return answer

    async def _write_row(self, session: AsyncSession, query: CheckoutQuery, answer: CheckoutAnswer) -> None:
        now = self._clock()
        row = {
            "query_id": query.query_id,
            "telegram_id": query.telegram_id,
            "amount": query.amount,
            "currency": query.currency,
            "payload": query.payload,
            "verdict": answer.value,
            "created_at": now,
            "declined_on": None if answer is CheckoutVerdict.ACCEPTED else f"{now:%Y-%m-%d}",
        }
        # The row exists already if Telegram sent the query twice, or the desk declined this payload before on the same
        # day.
        await session.execute(_NEW_CHECKOUT.on(session), row)

    @retry_transaction
    async def _mark_late(self, query: CheckoutQuery) -> None:
        """Replace the row of a pre-checkout whose transaction committed after the desk had declined."""
        async with self._database.transaction(Priority.PRE_CHECKOUT) as session:
            await session.execute(delete(Checkout).where(Checkout.query_id == query.query_id))
            await self._write_row(session, query, CheckoutVerdict.TRY_AGAIN)


async def find_obstacle_on_record(session: AsyncSession, sale: Sale, now: datetime) -> PurchaseObstacle | None:
    """Find, by the rows on record, the reason why a buyer may not pay for a plan now; None: the buyer may.

    The shop asks before it sends an invoice, and the pre-checkout before the payment. It reads the subscriptions only
    for a plan that is one, and only if nothing else stands in the way, because a buyer waits for each statement.
    """
    # Grants of any date count, because a clock that is behind has not reached a payment of a moment ago.
    held_for_life = await EntitlementService(session).buyer_holds_for_life(sale.buyer_telegram_id)
    payer = Payer(sale.buyer_telegram_id, held_for_life)
    obstacle = find_obstacle(sale, payer, is_paid=False)
    if obstacle is None and sale.is_subscription:
        payer = replace(payer, subscribed=await running.opened(session, sale.buyer_telegram_id, now))
        obstacle = find_obstacle(sale, payer, is_paid=False)
    return obstacle


def _stop_if_answered(withdrawn: asyncio.Event) -> None:
    if withdrawn.is_set():
        raise _WithdrawnError


class OldCheckouts:
    """Deletes old pre-checkouts in batches, so that no buyer waits behind the deletion.

    The class stands here, because this module alone writes the table `checkouts`.
    """

    def __init__(self, database: Database, clock: Clock, telegram_now: Clock | None = None) -> None:
        """Prepare; `telegram_now` gives Telegram's present (None: the clock is Telegram's).

        The earlier of the two counts, so that neither a clock that is ahead, nor one that was behind when it dated a
        row, deletes anything too soon.
        """
        self._database = database
        self._clock = clock
        self._telegram_now = telegram_now or clock
        self._looked_at: datetime | None = None

    async def run(self) -> None:
        """Delete old pre-checkouts once an hour, until cancelled; after a failure the next hour tries again."""
        while True:
            try:
                await self.sweep_once()
            except Exception as error:  # noqa: BLE001 - rows that stay longer are no reason to stop selling
                bug = None if is_away(error) else error
                logger.opt(exception=bug).warning("old pre-checkouts stay for now: {}", type(error).__name__)
            await asyncio.sleep(SWEEP_PAUSE_SECONDS)

    async def sweep_once(self) -> int:
        """Delete a batch of pre-checkouts older than 90 days, if an hour has passed; return how many.

        Raises SQLAlchemy's errors when the database is away.
        """
        now = min(self._clock(), self._telegram_now())
        if self._looked_at is not None and abs(now - self._looked_at) < SWEEP_AGAIN:
            return 0
        before, self._looked_at = self._looked_at, now
        async with self._database.transaction(Priority.RECONCILIATION) as session:
            old = (await session.scalars(select_old_checkouts(now))).all()
            if old:
                await session.execute(delete(Checkout).where(Checkout.query_id.in_(old)))
        if len(old) == SWEEP_MAX:
            self._looked_at = before
        return len(old)


def select_old_checkouts(now: datetime) -> Select[str]:
    """Return the query for the ids of the next pre-checkouts that are too old to keep, the oldest first."""
    query = select(Checkout.query_id).where(Checkout.created_at < now - timedelta(days=CHECKOUTS_KEPT_DAYS))
    return query.order_by(Checkout.created_at).limit(SWEEP_MAX)
