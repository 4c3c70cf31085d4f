"""Reads the history of a user's payments and refunds, of all channels and services, newest first, page by page."""

import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.states import ORIGIN, EventOutcome, EventStatus
from db.tables import EntitlementGrant, StripeEvent, User
from db.users import find_namesakes, find_user
from entitlements.service import EntitlementService, Holding
from payments.audit.balance import completing_refund, contradiction, refunded_amount
from payments.methods import METHODS, REFUND_ENDINGS, RETURN_ENDING

PAGE_SIZE: Final = 5
"""Entries on a history page: even with charge ids of 500 characters it fits into a chat message of 4096."""


class EntryState(enum.StrEnum):
    """The state of a history entry, in a reader's terms."""

    OPEN = "open"
    DONE = "done"
    WAITING = "waiting"
    """A parked charge: it waits for an admin."""
    FOREIGN = "foreign"
    """A sale of another program on the same token."""
    GIVEN_BACK = "given_back"
    """A charge whose remainder is 0."""
    OWED = "owed"
    """A charge with refunds of its whole amount, a part of which has returned to the seller since."""
    RETURNED = "returned"
    """The row of a returned refund; the refund itself stays done."""
    REPLACED = "replaced"
    """A refund that the provider will never make, because it is more than the remainder of its charge."""
    FAILED = "failed"
    """A row of another service, which says that it has failed."""


_STATE_BY_OUTCOME: Final[Mapping[str | None, EntryState]] = {
    EventOutcome.PARKED: EntryState.WAITING,
    EventOutcome.FOREIGN: EntryState.FOREIGN,
    EventOutcome.RETURNED: EntryState.RETURNED,
    EventOutcome.REPLACED: EntryState.REPLACED,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A history entry: a charge or refund, with its charge (None: the refund came before its charge).

    The row of a returned refund counts as a refund.
    """

    event: StripeEvent
    charge: StripeEvent | None
    is_refund: bool
    state: EntryState

    @property
    def is_dispute(self) -> bool:
        """Tell whether the entry is a lost dispute: the buyer's bank took the money back."""
        method = METHODS.get(self.event.payment_method)
        return method is not None and self.event.event_type == method.dispute_type

    @property
    def asked_before(self) -> list[tuple[str | None, str | None]]:
        """The earlier requests of the entry's refund (admin and reason), the oldest first."""
        return asked_before(self.event)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a history, counted from 1; a page past the end is empty. `page_count` 0: no history."""

    number: int
    page_count: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class History:
    """A user, and one page of the user's history of payments and refunds."""

    user: User
    page: Page


@dataclass(frozen=True, slots=True)
class UserRecord:
    """The records of a user: history entries, grants, and the access that the grants add up to now."""

    user: User
    entries: Sequence[Entry]
    grants: Sequence[EntitlementGrant]
    holdings: Sequence[Holding]


def asked_before(refund: StripeEvent) -> list[tuple[str | None, str | None]]:
    """Return the earlier requests of a refund (admin and reason), the oldest first.

    A request is an earlier one once an admin has asked for the same refund again.
    """
    return [(by, why) for by, why in json.loads(refund.asked_before or "[]")]


async def read_history(session: AsyncSession, telegram_id: int, number: int = 1) -> History | None:
    """Read a page (from 1) of the payment history of a Telegram id; None: the user is unknown."""
    user = await find_user(session, telegram_id)
    return None if user is None else History(user, await read_page(session, user.id, number))


async def read_records(session: AsyncSession, who: int | str, now: datetime, pages_max: int) -> Sequence[UserRecord]:
    """Read history, grants and access of a Telegram id, or of the users last seen under a @username (without the @).

    Each user's record has at most the newest `pages_max` pages of history; `now` dates the access.
    """
    if isinstance(who, int):
        user = await find_user(session, who)
        users: Sequence[User] = [] if user is None else [user]
    else:
        users = await find_namesakes(session, who)
    return [await _read_record(session, user, now, pages_max) for user in users]


async def _read_record(session: AsyncSession, user: User, now: datetime, pages_max: int) -> UserRecord:
    """Read one user's history, grants and access."""
    entries: list[Entry] = []
    number = 1
    page = await read_page(session, user.id)
    while page.entries and number <= pages_max:
        entries += page.entries
        number += 1
        page = await read_page(session, user.id, number)
    query = select(EntitlementGrant).where(EntitlementGrant.user_id == user.id)
    query = query.order_by(EntitlementGrant.granted_at.desc(), EntitlementGrant.source)
    grants = (await session.scalars(query)).all()
    return UserRecord(user, entries, grants, await EntitlementService(session).holdings(user.id, now))


async def read_page(session: AsyncSession, user_id: str, number: int = 1) -> Page:
    """Read a page (from 1) of the payment history of the user with this `users.id`."""
    query = _select_newest_first(user_id)
    entry_count = await session.scalar(select(func.count()).select_from(query.order_by(None).subquery())) or 0
    events = (await session.scalars(query.limit(PAGE_SIZE).offset(PAGE_SIZE * (number - 1)))).all()
    related = await _read_related(session, events)
    return Page(number, -(-entry_count // PAGE_SIZE), tuple(_make_entry(event, related) for event in events))


def _select_newest_first(user_id: str) -> Select[StripeEvent]:
    """Select a user's audit rows in the order of the history, newest first."""
    happened_at = func.coalesce(StripeEvent.webhook_timestamp, StripeEvent.created_at, StripeEvent.processed_at)
    # Telegram's times are whole seconds: within one, the later record is newer, and a refund newer than its charge.
    recorded_at = StripeEvent.created_at.desc().nulls_last()
    newest_first = (happened_at.desc().nulls_last(), recorded_at, StripeEvent.refund_of.is_(None), StripeEvent.event_id)
    return select(StripeEvent).where(StripeEvent.customer_id == user_id).order_by(*newest_first)


async def _read_related(session: AsyncSession, events: Sequence[StripeEvent]) -> dict[str, StripeEvent]:
    """Read the refunds and charges of a history page's rows, and return them with the rows, by `event_id`."""
    charges = StripeEvent.event_id.in_({event.refund_of for event in events if event.refund_of is not None})
    refunds = StripeEvent.refund_of.in_({event.event_id for event in events if event.refund_of is None})
    found = await session.scalars(select(StripeEvent).where(or_(charges, refunds)))
    return {event.event_id: event for event in (*events, *found)}


def _make_entry(event: StripeEvent, related: dict[str, StripeEvent]) -> Entry:
    """Make the history entry of an audit row."""
    # Other services may leave `refund_of` empty, and then the type alone shows a refund.
    is_refund = event.refund_of is not None or event.event_type.endswith((*REFUND_ENDINGS, RETURN_ENDING))
    charge = related.get(event.refund_of or "") if is_refund else event
    refunds = [each for each in related.values() if each.refund_of == event.event_id]
    done = [
        refund for refund in refunds if refund.status == EventStatus.PROCESSED and _takes_from_charge(refund, event)
    ]
    return Entry(event, charge, is_refund, _entry_state(event, done))


def _takes_from_charge(refund: StripeEvent, charge: StripeEvent) -> bool:
    """Tell whether a refund counts against its charge in the history; another service's rows count as they are."""
    return charge.origin != ORIGIN or contradiction(refund, charge) is None


def _entry_state(event: StripeEvent, refunds: Sequence[StripeEvent]) -> EntryState:
    """Return the state of a history entry; `refunds` are the made refunds of a charge."""
    if refunds and refunded_amount(refunds) >= event.amount_cents:
        return EntryState.GIVEN_BACK
    if event.origin == ORIGIN and completing_refund(event, refunds) is not None:
        return EntryState.OWED
    if (state := _STATE_BY_OUTCOME.get(event.outcome)) is not None:
        return state
    if event.status == EventStatus.PROCESSED:
        return EntryState.DONE
    if event.status == EventStatus.FAILED and event.origin != ORIGIN:
        return EntryState.FAILED
    return EntryState.OPEN
