"""Matches the refunds that a provider lists with the rows of their charge, and records those without a row.

Every reader of the provider's list has to match a refund with the same row at any time. The match therefore goes by
what never changes: the row that the refund names, its id, its amount and its time. Two refunds of the whole amount
stand in one list when the first one returned.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import StripeEvent, User
from payments.audit import events, fact_rows
from payments.audit.balance import is_at_provider
from payments.audit.facts import Fact, Person, RefundFact, ReturnFact, refund_id, returned_id
from payments.channel import MadeRefund


async def record_provider_refunds(
    session: AsyncSession, charge: StripeEvent, made: Sequence[MadeRefund], now: datetime
) -> None:
    """Record the refunds of a charge that its provider has made, and those of them that returned since.

    `made` are all refunds of the charge that the provider has. A returned refund is dated `now`, because the list does
    not say when it returned. The caller holds the user's lock (events.lock). Raises the errors of fact_rows.record.
    """
    person = payer(await session.get_one(User, charge.customer_id))
    known = await events.refunds_of(session, charge.event_id)
    facts: list[Fact] = [
        RefundFact(
            charge.event_id,
            person,
            refund.amount,
            refund.currency,
            refund.happened_at,
            part=part_of(refund, charge, known),
        )
        for refund in made
        if refund.is_through
    ]
    facts += [_returned(row, refund, person, now) for row, refund in find_returned(charge, known, made)]
    if facts:
        await fact_rows.record(session, facts, now)


async def record_returned_refund(
    session: AsyncSession,
    charge: StripeEvent,
    made: Sequence[MadeRefund],
    failed: MadeRefund,
    failed_at: datetime,
    now: datetime,
) -> bool:
    """Record that `failed`, a refund at the provider, returned to the seller; False: no row of ours has it as made.

    `made` are all refunds of the charge that the provider has. The caller holds the user's lock (events.lock).
    """
    known = await events.refunds_of(session, charge.event_id)
    for row, refund in find_returned(charge, known, made):
        if refund is failed:
            person = payer(await session.get_one(User, charge.customer_id))
            await fact_rows.record(session, [_returned(row, failed, person, failed_at)], now)
            return True
    row_id = refund_id(charge.event_id, part_of(failed, charge, known))
    return any(row.event_id == returned_id(row_id) for row in known)


def find_returned(
    charge: StripeEvent, known: Sequence[StripeEvent], made: Sequence[MadeRefund]
) -> list[tuple[StripeEvent, MadeRefund]]:
    """Find refunds that returned at the provider and have no returned row yet; pair each with the provider's refund.

    `known` are the rows of the charge's refunds, and `made` all refunds of it that the provider has.
    """
    of_row: defaultdict[str, list[MadeRefund]] = defaultdict(list)
    for refund in made:
        of_row[refund_id(charge.event_id, part_of(refund, charge, known))].append(refund)
    on_record = {row.event_id for row in known}
    found = []
    for row in known:
        refunds = of_row[row.event_id]
        failed = [refund for refund in refunds if refund.failure is not None]
        # Another attempt may go through after a failed one.
        is_out = any(refund.is_through for refund in refunds)
        if failed and not is_out and is_at_provider(row) and returned_id(row.event_id) not in on_record:
            found.append((row, max(failed, key=lambda refund: refund.happened_at)))
    return found


def part_of(refund: MadeRefund, charge: StripeEvent, known: Sequence[StripeEvent]) -> str | None:
    """Return the part (facts.RefundFact) that names a provider's refund among those of its charge.

    None: the refund is of the whole charge. `known` are the rows of the charge's refunds.
    """
    rows = {row.event_id: row for row in known}
    whole_id = refund_id(charge.event_id)
    if refund_id(charge.event_id, refund.id) in rows:
        return refund.id
    if refund.row in rows:
        return refund.row.removeprefix(whole_id).removeprefix(":") or None
    if (apart := _apart(refund, charge, known)) is not None:
        return apart
    whole = rows.get(whole_id)
    if whole is not None and is_at_provider(whole):
        is_whole = (whole.webhook_timestamp, whole.amount_cents) == (refund.happened_at, refund.amount)
    else:
        # A refund requested here and made elsewhere meanwhile is one refund.
        is_whole = refund.amount == charge.amount_cents and (whole is None or whole.amount_cents == refund.amount)
    return None if is_whole else refund.id


def _apart(refund: MadeRefund, charge: StripeEvent, known: Sequence[StripeEvent]) -> str | None:
    """Return the part of a provider's refund whose row stands apart; None: no row of it does.

    `fact_rows.record` makes such rows, because another row has the refund's key.
    """
    for row in known:
        is_apart = row.event_id == refund_id(charge.event_id, row.id)
        if is_apart and (row.webhook_timestamp, row.amount_cents) == (refund.happened_at, refund.amount):
            return row.id
    return None


def payer(user: User) -> Person:
    """Return the payer of a charge as the person of a fact. Raises ValueError for a user without a Telegram id."""
    if user.telegram_id is None:
        raise ValueError(f"the user {user.id} of a charge of ours has no Telegram id")
    return Person(user.telegram_id)


def _returned(row: StripeEvent, refund: MadeRefund, person: Person, at: datetime) -> ReturnFact:
    return ReturnFact(
        charge_id=row.refund_of or "",
        refund_id=row.event_id,
        person=person,
        amount=row.amount_cents,
        currency=row.currency,
        happened_at=at,
        reason=refund.failure or "",
    )
