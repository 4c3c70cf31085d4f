"""Compares a page of Telegram's ledger with our audit rows, and records the payments and refunds that we lack.

A missing payment or refund goes through payments/audit/fact_rows.py (`record`), the same door as an update. A page
without news costs one read. The caller opens the transaction.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.states import ORIGIN
from db.tables import StripeEvent, User
from db.users import lock_users
from payments.audit import fact_rows
from payments.audit.facts import ChargeFact, MoneyFact, RefundFact
from payments.ledger.findings import Counts, Finding, Unexplained
from payments.ledger.rows import LedgerRow


@dataclass(slots=True)
class LedgerPage:
    """The result of one ledger page. `recovered` are the events that our audit table lacked.

    `nanostars` is the page's part of the balance. `payment_stars` adds up its payments less its refunds, and
    `event_stars` the same by the amounts of our audit rows. `charge_ids` are the charges that its rows belong to.
    """

    counts: Counts = field(default_factory=Counts)
    recovered: list[MoneyFact] = field(default_factory=list)
    nanostars: int = 0
    payment_stars: int = 0
    event_stars: int = 0
    charge_ids: set[str] = field(default_factory=set)

    def add(self, other: "LedgerPage") -> None:
        """Add the result of another part of the same ledger page."""
        self.counts.add(other.counts)
        self.recovered += other.recovered
        self.nanostars += other.nanostars
        self.payment_stars += other.payment_stars
        self.event_stars += other.event_stars
        self.charge_ids |= other.charge_ids


@dataclass(frozen=True, slots=True)
class _OurEvent:
    """Our audit row of the event in a ledger row, as far as a comparison needs it."""

    user_id: str
    telegram_id: int | None
    origin: str | None
    amount: int
    refund_of: str | None
    is_seen: bool
    lacks_time: bool
    lacks_flags: bool


async def record_page(
    session: AsyncSession,
    rows: Sequence[LedgerRow],
    now: datetime,
    *,
    counted: Iterable[str],
    falls_due: bool = True,
    is_dry: bool = False,
) -> LedgerPage:
    """Compare a page of ledger rows with our audit rows, and record the missing payments and refunds.

    For each key in `counted`, the sums leave out one row, because an earlier reading has added it. Recorded events fall
    due at once unless `falls_due` is False. `is_dry` writes nothing. Raises UnrecordableError when another process has
    recorded something else under the same id meanwhile, and SQLAlchemy's errors.
    """
    page = LedgerPage()
    known = await _read_our_events(session, rows)
    missing: dict[str, MoneyFact] = {}
    unseen: dict[str, _OurEvent] = {}
    counted_before = Counter(counted)
    for row in rows:
        fact = _fact_of_row(row, known, missing)
        event_id = _audit_id(row, fact, known, missing)
        ours = known.get(event_id)
        if row.id is not None and (fact is not None or ours is not None or row.is_invoice):
            page.charge_ids.add(row.id)
        _count_row(page.counts, row, ours, fact, is_recorded=event_id in missing)
        if counted_before[row.key]:
            counted_before[row.key] -= 1
        else:
            _add_to_sums(page, row, ours, fact, is_doubled=event_id in missing)
        if ours is not None and ours.origin == ORIGIN and not ours.is_seen:
            unseen[event_id] = ours
        if fact is not None and (ours is None or _adds_to_event(fact, ours)):
            missing.setdefault(event_id, fact)
    if (missing or unseen) and not is_dry:
        await _record_missing(session, missing, unseen, now, falls_due=falls_due)
    page.recovered = [fact for event_id, fact in missing.items() if event_id not in known]
    return page


async def _read_our_events(session: AsyncSession, rows: Sequence[LedgerRow]) -> dict[str, _OurEvent]:
    """Read our audit rows of a ledger page, and the charges of its possible refunds, by `event_id`."""
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
        # A refund in a row apart has another id than its ledger row.
        .where(or_(StripeEvent.event_id.in_(wanted), StripeEvent.refund_of.in_(refunded)))
    )
    return {row[0]: _OurEvent(*row[1:]) for row in await session.execute(query)}


def _audit_id(
    row: LedgerRow, fact: MoneyFact | None, known: Mapping[str, _OurEvent], missing: Mapping[str, MoneyFact]
) -> str:
    """Return the `event_id` that a ledger row has, or is to get, in our audit table.

    A refund that agrees with its charge gets a row apart (payments/audit/fact_rows.py) when another row, which
    contradicts the charge, has its key.
    """
    if not isinstance(fact, RefundFact):
        is_taken = isinstance(missing.get(row.event_id or ""), RefundFact) and fact is not None
        # No real id has a NUL: recording this one fails with an alert, and keeps it apart from the refund with its id.
        return f"\0{row.event_id}" if is_taken else row.event_id or ""
    holder = known.get(fact.event_id) or missing.get(fact.event_id)
    if fact.apart.event_id in known or (
        holder is not None and _takes_key_of(holder, fact) and _fits_charge(fact, known, missing)
    ):
        return fact.apart.event_id
    return fact.event_id


def _takes_key_of(holder: "_OurEvent | MoneyFact", fact: RefundFact) -> bool:
    """Tell whether another event has the key of a refund in the ledger, on record or on the same page."""
    if isinstance(holder, _OurEvent):
        return _find_difference(fact, holder) is not None
    return (type(holder), holder.amount, holder.person.telegram_id) != (
        type(fact),
        fact.amount,
        fact.person.telegram_id,
    )


def _fits_charge(fact: RefundFact, known: Mapping[str, _OurEvent], missing: Mapping[str, MoneyFact]) -> bool:
    """Tell whether a refund on a ledger page has the amount and payer of its charge, on record or on the page.

    The amounts must be equal, because Telegram refunds Stars whole.
    """
    charge = known.get(fact.charge_id) or missing.get(fact.charge_id)
    if isinstance(charge, _OurEvent):
        is_charge, whose = charge.origin == ORIGIN and charge.refund_of is None, charge.telegram_id
    elif isinstance(charge, ChargeFact):
        is_charge, whose = True, charge.person.telegram_id
    else:
        return False
    return is_charge and (charge.amount, whose) == (fact.amount, fact.person.telegram_id)


def _fact_of_row(row: LedgerRow, known: Mapping[str, _OurEvent], missing: Mapping[str, MoneyFact]) -> MoneyFact | None:
    """Return the payment or refund in a ledger row; None: the row is neither, or its charge is not ours.

    The amount on record counts if the row fits it, because a commission hides the price.
    """
    fact = row.fact
    if fact is None or not (row.is_invoice or fact.charge_id in known or fact.charge_id in missing):
        return None
    # Try the charge first, because a row with the refund's own key may be another event.
    for recorded in (known.get(fact.charge_id), missing.get(fact.charge_id), known.get(fact.event_id)):
        if recorded is not None and row.is_worth(recorded.amount):
            return fact if recorded.amount == fact.amount else replace(fact, amount=recorded.amount)
    return fact


def _adds_to_event(fact: MoneyFact, ours: _OurEvent) -> bool:
    """Tell whether a ledger row's payment or refund fills in something that our audit row lacks."""
    if _find_difference(fact, ours) is not None:
        return False
    return ours.lacks_time or (isinstance(fact, ChargeFact) and ours.lacks_flags and fact.is_recurring is not None)


def _count_row(
    counts: Counts, row: LedgerRow, ours: _OurEvent | None, fact: MoneyFact | None, *, is_recorded: bool
) -> None:
    """Count one ledger row: as known, refunded, foreign, recovered or another kind, or as a finding."""
    counts.seen += 1
    difference = _find_difference(fact, ours) if ours is not None else None
    if difference is not None:
        counts.add_findings(difference)
    elif ours is not None or is_recorded:
        counts.known += 1
    elif row.problem is not None:
        counts.add_findings(Unexplained(Finding.UNREADABLE, row.event_id or row.key, detail=row.problem))
    elif fact is None:
        counts.others[row.kind] += 1
    elif isinstance(fact, RefundFact):
        counts.refunded += 1
    elif row.is_foreign:
        counts.foreign += 1
    else:
        counts.recovered += 1


def _find_difference(fact: MoneyFact | None, ours: _OurEvent) -> Unexplained | None:
    """Find the difference between a ledger row's payment or refund and our audit row; None: they agree."""
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


def _add_to_sums(
    page: LedgerPage, row: LedgerRow, ours: _OurEvent | None, fact: MoneyFact | None, *, is_doubled: bool
) -> None:
    """Add a ledger row to its page's sums of nanostars and Stars."""
    page.nanostars += row.nanostars
    if fact is None:
        return
    sign = -1 if isinstance(fact, RefundFact) else 1
    page.payment_stars += sign * fact.amount
    if not is_doubled:
        page.event_stars += sign * (ours.amount if ours is not None and ours.origin == ORIGIN else fact.amount)


async def _record_missing(
    session: AsyncSession,
    missing: Mapping[str, MoneyFact],
    unseen: Mapping[str, _OurEvent],
    now: datetime,
    *,
    falls_due: bool,
) -> None:
    """Record the events that only the ledger page has, and mark all its events as seen in the ledger."""
    # Lock all users in one order, because two processes that lock them in two orders could deadlock.
    concerned = [each.user_id for each in unseen.values()]
    payers = [fact.person.telegram_id for fact in missing.values()]
    await lock_users(session, or_(User.id.in_(concerned), User.telegram_id.in_(payers)))
    if missing:
        await fact_rows.record(session, list(missing.values()), now, falls_due=falls_due)
    seen = update(StripeEvent).where(
        StripeEvent.event_id.in_({key for key in (*missing, *unseen) if "\0" not in key}),
        StripeEvent.ledger_seen_at.is_(None),
    )
    await session.execute(seen.values(ledger_seen_at=now))
