"""Searches Stripe for card payments whose update was lost.

Telegram keeps an update for 24 hours, and its ledger has no cards.

The trace of such a payment is its pre-checkout: accepted, and without a charge. Most of those are declined cards. A
charge at Stripe of the same amount, made at that time and missing from our rows, is most likely the payment. The desk
tells the admins and settles nothing by itself, because another shop may use the same account.
"""

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from loguru import logger
from sqlalchemy import ColumnElement, Select, exists, func, literal, literal_column, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from db.clock import Clock
from db.engine import Database
from db.retry import retry_transaction
from db.states import STARS_CURRENCY, CheckoutVerdict
from db.tables import Checkout, OutboxMessage, QuarantinedUpdate, StripeEvent, User
from db.utc_datetime import UtcDateTime
from payments.errors import RefusedByChannelError, UnreadableMoneyError
from payments.methods import CARDS
from payments.notices import Admins, Notice
from payments.sale.catalog import Catalog
from payments.sale.payload import PayloadSigner
from payments.stripe.api import StripeApi, StripeCharge

LOST_HOURS: Final = 25
"""Telegram keeps an update for 24 hours (Bot API, getting updates); until then the payment may still come."""
LOOKED_DAYS: Final = 30
"""A search for lost payments looks back so far."""
BEFORE: Final = timedelta(minutes=1)
AFTER: Final = timedelta(minutes=10)
"""A charge's date may lie so long before and after its pre-checkout, because Stripe's clock and ours may differ."""
ROUND_MAX: Final = 100
"""One round searches Stripe for the payments of so many pre-checkouts; the next round goes on with the others."""
NAMED_MAX: Final = 3
"""One notice names so many purchases, and so many other charges."""

_PLACE: Final = (Checkout.created_at, Checkout.query_id)
_Place = tuple[datetime, str]


class LostPayments:
    """Searches Stripe for the payment of each unpaid pre-checkout, the oldest first, each once in a process."""

    def __init__(
        self,
        database: Database,
        api: StripeApi,
        catalog: Catalog,
        signer: PayloadSigner,
        clock: Clock,
        admins: Admins,
        on_owed: Callable[[], None],
    ) -> None:
        """Prepare; calls `on_owed` when a notice is due."""
        self._database = database
        self._api = api
        self._catalog = catalog
        self._signer = signer
        self._clock = clock
        self._admins = admins
        self._on_owed = on_owed
        self.round_max = ROUND_MAX
        self._asked: _Place | None = None

    async def search_lost_payments(self) -> None:
        """Search Stripe for the charges of the next ROUND_MAX unpaid pre-checkouts; tell the admins of those found.

        Raises ChannelError, and SQLAlchemy's errors when the database is away. If Stripe refuses the search for one
        pre-checkout or answers unreadably, this searches for the others first and then raises that error; the next
        round repeats the one that failed unless a later one has worked.
        """
        now = self._clock()
        query = select_unpaid_checkouts(now - timedelta(days=LOOKED_DAYS), now - timedelta(hours=LOST_HOURS))
        if self._asked is not None:
            query = query.where(tuple_(*_PLACE) > tuple_(literal(self._asked[0], UtcDateTime()), self._asked[1]))
        async with self._database.reading() as session:
            unpaid = (await session.scalars(query.limit(self.round_max))).all()
        refused: RefusedByChannelError | UnreadableMoneyError | None = None
        for checkout in unpaid:
            try:
                await self._search_charge_of(checkout)
            except (RefusedByChannelError, UnreadableMoneyError) as error:
                logger.warning(
                    "the payment of pre-checkout {} cannot be searched for at Stripe: {}", checkout.query_id, error
                )
                refused = error
            else:
                self._asked = (checkout.created_at, checkout.query_id)
        if refused is not None:
            raise refused

    async def _search_charge_of(self, checkout: Checkout) -> None:
        """Search Stripe for the lost charge of one pre-checkout, by amount and date; tell the admins of it."""
        since, until = checkout.created_at - BEFORE, checkout.created_at + AFTER
        found = await self._api.list_charges(math.ceil(since.timestamp()), math.floor(until.timestamp()))
        kept = [each for each in found if each.paid and not each.refunded and _price_of(each) == _price_of(checkout)]
        async with self._database.reading() as session:
            unknown = [each for each in kept if not await _is_on_record(session, each)]
        for charge in unknown:
            await self._tell_lost_payment(charge, [each.id for each in unknown if each is not charge])

    @retry_transaction
    async def _tell_lost_payment(self, charge: StripeCharge, others: Sequence[str]) -> None:
        """Owe the admins one notice of a charge at Stripe that our rows lack, if a purchase fits it."""
        key, now = f"stripe:lost:{charge.id}", self._clock()
        told = exists().where(OutboxMessage.event_id == key, OutboxMessage.kind == Notice.LOST_PAYMENT)
        async with self._database.transaction() as session:
            fits = await self._possible_purchases(session, charge)
            if not fits or await session.scalar(select(told)):
                return
            amount, currency = _price_of(charge)
            facts = {
                "stripe_id": charge.id,
                "amount": amount,
                "currency": currency,
                "paid_at": charge.happened_at.isoformat(),
                "fits": fits[:NAMED_MAX],
                "others": [*others[:NAMED_MAX]],
            }
            await self._admins.tell(session, Notice.LOST_PAYMENT, key, facts, now)
        bound = logger.bind(charge_id=CARDS.event_id(charge.id), buyers=[fit["buyer"] for fit in fits])
        bound.error("a payment by card at Stripe is not on record, its update was most likely lost")
        self._on_owed()

    async def _possible_purchases(self, session: AsyncSession, charge: StripeCharge) -> list[dict[str, Any]]:
        """List the purchases that a lost payment at Stripe may be of, each once, as a notice's facts."""
        amount, currency = _price_of(charge)
        query = select_unpaid_checkouts(charge.happened_at - AFTER, charge.happened_at + BEFORE)
        query = query.where(Checkout.amount == amount, Checkout.currency == currency)
        fits: list[dict[str, Any]] = []
        for checkout in await session.scalars(query):
            reading = self._signer.read(checkout.payload)
            order = reading.order or reading.claimed
            if order is None:
                # An older version of the desk signed payloads of another form.
                continue
            plan = self._catalog.get(order.plan)
            fit = {
                "buyer": checkout.telegram_id,
                "title": plan.title if plan else order.plan,
                "entitlements": list(plan.entitlements) if plan else [],
                "days": order.days,
            }
            if fit not in fits:
                fits.append(fit)
        return fits


def select_unpaid_checkouts(since: datetime, until: datetime) -> Select[Checkout]:
    """Select pre-checkouts by card that may have a lost payment: accepted more often than paid, the oldest first.

    Declined cards are among them, because the rows leave open which acceptance the buyer paid.
    """
    again = aliased(Checkout)
    accepted = select(func.count()).where(again.payload == Checkout.payload, *_is_accepted_by_card(again))
    paid = (
        select(func.count())
        .select_from(StripeEvent)
        .join(User, User.id == StripeEvent.customer_id)
        .where(User.telegram_id == Checkout.telegram_id, StripeEvent.payload == Checkout.payload)
    )
    return (
        select(Checkout)
        .where(*_is_accepted_by_card(Checkout), Checkout.created_at >= since, Checkout.created_at <= until)
        .where(paid.scalar_subquery() < accepted.scalar_subquery())
        .order_by(*_PLACE)
    )


def _is_accepted_by_card(checkout: type[Checkout]) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of an accepted pre-checkout by card, in the words of the partial indexes.

    The values are literals, because a bound value would keep the database from using those indexes.
    """
    accepted: ColumnElement[str] = literal_column(f"'{CheckoutVerdict.ACCEPTED}'")
    stars: ColumnElement[str] = literal_column(f"'{STARS_CURRENCY}'")
    return checkout.verdict == accepted, checkout.currency != stars


async def _is_on_record(session: AsyncSession, charge: StripeCharge) -> bool:
    """Tell whether our rows have a charge at Stripe, or the quarantine has an update that names it."""
    names = [name for name in (charge.id, charge.payment_intent) if name is not None]
    row = exists().where(StripeEvent.event_id.in_([*names, *map(CARDS.event_id, names)]))
    told = exists().where(or_(*(QuarantinedUpdate.raw.contains(name, autoescape=True) for name in names)))
    return bool(await session.scalar(select(or_(row, told))))


def _price_of(of: StripeCharge | Checkout) -> tuple[int, str]:
    """Return the amount and currency by which a search matches a charge at Stripe with a pre-checkout."""
    return of.amount, of.currency.upper()
