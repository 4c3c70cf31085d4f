"""One page of Telegram's ledger, compared with our rows and recorded, in the caller's transaction.

What is missing goes through payments/events.record, the same door as an update. A page that is known takes one read.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import ORIGIN, StripeEvent, User
from entitlements.service import lock_users
from payments.audit import events
from payments.audit.facts import ChargeFact, MoneyFact, RefundFact
from payments.ledger.findings import Counts, Finding, Unexplained
from payments.ledger.rows import LedgerRow


@dataclass(slots=True)
class Page:
    """What a page came to. `recovered` are the events that it has put on record, or that have learned from it.

    `nanostars` is what its rows add to the balance, `payment_stars` what those of payments and refunds do, and
    `event_stars` what our own rows of the same do. `charge_ids` are the charges that rows of it are of.
    """

    counts: Counts = field(default_factory=Counts)
    recovered: list[MoneyFact] = field(default_factory=list)
    nanostars: int = 0
    payment_stars: int = 0
    event_stars: int = 0
    charge_ids: set[str] = field(default_factory=set)

    def add(self, other: "Page") -> None:
        """Count in a part of the same page."""
        self.counts.add(other.counts)
        self.recovered += other.recovered
        self.nanostars += other.nanostars
        self.payment_stars += other.payment_stars
        self.event_stars += other.event_stars
        self.charge_ids |= other.charge_ids


@dataclass(frozen=True, slots=True)
class _Known:
    """What our row of an event says."""

    user_id: str
    telegram_id: int | None
    origin: str | None
    amount: int
    refund_of: str | None
    is_seen: bool
    lacks_time: bool
    lacks_flags: bool


async def take_page(
    session: AsyncSession,
    rows: Sequence[LedgerRow],
    now: datetime,
    *,
    counted: Iterable[str] = (),
    is_due: bool = True,
    is_dry: bool = False,
) -> Page:
    """Compare rows with ours, and record what is missing; for each key in `counted` one row adds to no sum.

    What is recorded falls due at once unless `is_due` is False; `is_dry` writes nothing. Raises UnrecordableError when
    somebody has recorded something else under the same id meanwhile, and SQLAlchemy's errors.
    """
    page = Page()
    known = await _known(session, rows)
    missing: dict[str, MoneyFact] = {}
    unseen: dict[str, _Known] = {}
    counted_before = Counter(counted)
    for row in rows:
        fact = _fact(row, known, missing)
        event_id = _event_id(row, fact, known, missing)
        ours = known.get(event_id)
        if row.id is not None and (fact is not None or ours is not None or row.is_invoice):
            page.charge_ids.add(row.id)
        _count(page.counts, row, ours, fact, is_recorded=event_id in missing)
        if counted_before[row.key]:
            counted_before[row.key] -= 1
        else:
            _add_up(page, row, ours, fact, is_doubled=event_id in missing)
        if ours is not None and ours.origin == ORIGIN and not ours.is_seen:
            unseen[event_id] = ours
        if fact is not None and (ours is None or _teaches(fact, ours)):
            missing.setdefault(event_id, fact)
    if (missing or unseen) and not is_dry:
        await _record(session, missing, unseen, now, is_due=is_due)
    page.recovered = [fact for event_id, fact in missing.items() if event_id not in known]
    return page


async def _known(session: AsyncSession, rows: Sequence[LedgerRow]) -> dict[str, _Known]:
    """Read our events of these rows, and the charges of those that would be refunds of one, by `event_id`."""
    wanted = {row.event_id for row in rows if row.event_id is not None}
    wanted |= {row.fact.charge_id for row in rows if row.fact is not None}
    refunded = {row.fact.charge_id for row in rows if isinstance(row.fact, RefundFact)}
    query = (
        select(
            StripeEvent.event_id,
            StripeEvent.customer_id,
            User.telegram_id,
            StripeEvent.origin,
            StripeEvent.amount_cents,
            StripeEvent.refund_of,
            StripeEvent.ledger_seen_at.is_not(None),
            StripeEvent.webhook_timestamp.is_(None),
            StripeEvent.is_recurring.is_(None),
        )
        .join(User, User.id == StripeEvent.customer_id)
        # Refunds that stand apart, too.
        .where(or_(StripeEvent.event_id.in_(wanted), StripeEvent.refund_of.in_(refunded)))
    )
    return {row[0]: _Known(*row[1:]) for row in await session.execute(query)}


def _event_id(
    row: LedgerRow, fact: MoneyFact | None, known: Mapping[str, _Known], missing: Mapping[str, MoneyFact]
) -> str:
    """Return under which id the row of ours is, or is to be, that a row of the ledger has: of a refund, maybe apart.

    Apart (payments/events.record) is a refund that agrees with its charge, beside a row that does not and has its key.
    """
    if not isinstance(fact, RefundFact):
        is_taken = isinstance(missing.get(row.event_id or ""), RefundFact) and fact is not None
        # No id has a NUL: it is recorded, which fails and is told, and not taken for what has its id.
        return f"\0{row.event_id}" if is_taken else row.event_id or ""
    standing = known.get(fact.event_id) or missing.get(fact.event_id)
    if fact.apart.event_id in known or (
        standing is not None and _bars(standing, fact) and _agrees(fact, known, missing)
    ):
        return fact.apart.event_id
    return fact.event_id


def _bars(standing: "_Known | MoneyFact", fact: RefundFact) -> bool:
    if isinstance(standing, _Known):
        return _difference(fact, standing) is not None
    return (type(standing), standing.amount, standing.person.telegram_id) != (
        type(fact),
        fact.amount,
        fact.person.telegram_id,
    )


def _agrees(fact: RefundFact, known: Mapping[str, _Known], missing: Mapping[str, MoneyFact]) -> bool:
    """Tell a refund that its charge, on record or about to be, does not contradict: Stars go back whole."""
    charge = known.get(fact.charge_id) or missing.get(fact.charge_id)
    if isinstance(charge, _Known):
        is_charge, whose = charge.origin == ORIGIN and charge.refund_of is None, charge.telegram_id
    elif isinstance(charge, ChargeFact):
        is_charge, whose = True, charge.person.telegram_id
    else:
        return False
    return is_charge and (charge.amount, whose) == (fact.amount, fact.person.telegram_id)


def _fact(row: LedgerRow, known: Mapping[str, _Known], missing: Mapping[str, MoneyFact]) -> MoneyFact | None:
    """Return the payment or refund that a row is: surely, or because its charge is ours.

    Its amount is the one on record when the row agrees with that: a commission hides what was paid.
    """
    fact = row.fact
    if fact is None or not (row.is_invoice or fact.charge_id in known or fact.charge_id in missing):
        return None
    # The charge first: what has a refund's own key may be another row than the refund.
    for recorded in (known.get(fact.charge_id), missing.get(fact.charge_id), known.get(fact.event_id)):
        if recorded is not None and row.is_worth(recorded.amount):
            return fact if recorded.amount == fact.amount else replace(fact, amount=recorded.amount)
    return fact


def _teaches(fact: MoneyFact, ours: _Known) -> bool:
    """Tell whether a row says what ours does not know yet."""
    if _difference(fact, ours) is not None:
        return False
    return ours.lacks_time or (isinstance(fact, ChargeFact) and ours.lacks_flags and fact.is_recurring is not None)


def _count(counts: Counts, row: LedgerRow, ours: _Known | None, fact: MoneyFact | None, *, is_recorded: bool) -> None:
    counts.seen += 1
    difference = _difference(fact, ours) if ours is not None else None
    if difference is not None:
        counts.find(difference)
    elif ours is not None or is_recorded:
        counts.known += 1
    elif row.problem is not None:
        counts.find(Unexplained(Finding.UNREADABLE, row.event_id or row.key, detail=row.problem))
    elif fact is None:
        counts.others[row.kind] += 1
    elif isinstance(fact, RefundFact):
        counts.refunded += 1
    elif row.is_foreign:
        counts.foreign += 1
    else:
        counts.recovered += 1


def _difference(fact: MoneyFact | None, ours: _Known) -> Unexplained | None:
    """Say in what our row contradicts the ledger's."""
    if fact is None:
        return None
    if ours.origin != ORIGIN:
        return Unexplained(Finding.ANOTHER_SERVICE, fact.event_id)
    if ours.refund_of != (fact.charge_id if isinstance(fact, RefundFact) else None):
        return Unexplained(
            Finding.UNRECORDABLE, fact.event_id, detail="what is on record under its id is something else"
        )
    if fact.amount != ours.amount:
        return Unexplained(Finding.AMOUNT_DIFFERS, fact.event_id, here=ours.amount, there=fact.amount)
    if fact.person.telegram_id != ours.telegram_id:
        here = ours.telegram_id or ours.user_id
        return Unexplained(Finding.USER_DIFFERS, fact.event_id, here=here, there=fact.person.telegram_id)
    return None


def _add_up(page: Page, row: LedgerRow, ours: _Known | None, fact: MoneyFact | None, *, is_doubled: bool) -> None:
    page.nanostars += row.nanostars
    if fact is None:
        return
    sign = -1 if isinstance(fact, RefundFact) else 1
    page.payment_stars += sign * fact.amount
    if not is_doubled:
        page.event_stars += sign * (ours.amount if ours is not None and ours.origin == ORIGIN else fact.amount)


async def _record(
    session: AsyncSession,
    missing: Mapping[str, MoneyFact],
    unseen: Mapping[str, _Known],
    now: datetime,
    *,
    is_due: bool,
) -> None:
    """Record what is missing, and note that the ledger has it and what was not seen there until now."""
    # All users in one go: a second lock in another order could meet somebody who takes them in ours.
    concerned = [each.user_id for each in unseen.values()]
    payers = [fact.person.telegram_id for fact in missing.values()]
    await lock_users(session, or_(User.id.in_(concerned), User.telegram_id.in_(payers)))
    if missing:
        await events.record(session, list(missing.values()), now, is_due=is_due)
    seen = update(StripeEvent).where(
        StripeEvent.event_id.in_({key for key in (*missing, *unseen) if "\0" not in key}),
        StripeEvent.ledger_seen_at.is_(None),
    )
    await session.execute(seen.values(ledger_seen_at=now))
