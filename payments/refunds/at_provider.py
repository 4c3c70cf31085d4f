"""What a provider has of a charge's refunds, put on record: the same for whoever has asked the provider.

Which row a refund is must be the same whenever it is asked, so it hangs on what never changes: on the row that the
refund names, on its id, its amount and its time. Two of the whole amount can be there: the first one came back.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import StripeEvent, User
from payments.audit import events
from payments.audit.balance import is_at_provider
from payments.audit.facts import Fact, Person, RefundFact, ReturnFact, refund_id, returned_id
from payments.channel import MadeRefund


async def record_made(session: AsyncSession, charge: StripeEvent, made: Sequence[MadeRefund], now: datetime) -> None:
    """Put on record the refunds of a charge that are through, and those on record as through that came back.

    `made` are all that the provider has. When one came back is not known here: as of `now`. The caller holds the user's
    lock (events.lock). Raises what events.record does.
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
    facts += [_returned(row, refund, person, now) for row, refund in came_back(charge, known, made)]
    if facts:
        await events.record(session, facts, now)


async def record_failed(
    session: AsyncSession,
    charge: StripeEvent,
    made: Sequence[MadeRefund],
    failed: MadeRefund,
    failed_at: datetime,
    now: datetime,
) -> bool:
    """Put on record that one of the refunds in `made` came back; False: it was never on record as through.

    The caller holds the user's lock (events.lock).
    """
    known = await events.refunds_of(session, charge.event_id)
    for row, refund in came_back(charge, known, made):
        if refund is failed:
            person = payer(await session.get_one(User, charge.customer_id))
            await events.record(session, [_returned(row, failed, person, failed_at)], now)
            return True
    row_id = refund_id(charge.event_id, part_of(failed, charge, known))
    return any(row.event_id == returned_id(row_id) for row in known)


def came_back(
    charge: StripeEvent, known: Sequence[StripeEvent], made: Sequence[MadeRefund]
) -> list[tuple[StripeEvent, MadeRefund]]:
    """Return the rows that are on record as through and not as returned, whose refund came back, with that refund.

    `known` are the rows of the charge's refunds, and `made` all that its provider has.
    """
    of_row: defaultdict[str, list[MadeRefund]] = defaultdict(list)
    for refund in made:
        of_row[refund_id(charge.event_id, part_of(refund, charge, known))].append(refund)
    on_record = {row.event_id for row in known}
    found = []
    for row in known:
        refunds = of_row[row.event_id]
        failed = [refund for refund in refunds if refund.failure is not None]
        # An attempt that failed may have been followed by one that did not.
        is_out = any(refund.is_through for refund in refunds)
        if failed and not is_out and is_at_provider(row) and returned_id(row.event_id) not in on_record:
            found.append((row, max(failed, key=lambda refund: refund.happened_at)))
    return found


def part_of(refund: MadeRefund, charge: StripeEvent, known: Sequence[StripeEvent]) -> str | None:
    """Return which part (facts.RefundFact) of a charge's refunds one is; `known` are the rows of them."""
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
        # Asked for here and made elsewhere meanwhile, it is one refund.
        is_whole = refund.amount == charge.amount_cents and (whole is None or whole.amount_cents == refund.amount)
    return None if is_whole else refund.id


def _apart(refund: MadeRefund, charge: StripeEvent, known: Sequence[StripeEvent]) -> str | None:
    """Return which part a refund is that stands in a row apart (events.record), since another row has its key."""
    for row in known:
        is_apart = row.event_id == refund_id(charge.event_id, row.id)
        if is_apart and (row.webhook_timestamp, row.amount_cents) == (refund.happened_at, refund.amount):
            return row.id
    return None


def payer(user: User) -> Person:
    """Return whose charge it is, as the facts about it name a person."""
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
