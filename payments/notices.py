"""Notices to buyers and admins: rows of the outbox, written in the transaction that makes them true.

bot/sending/outbox.py delivers them. A notice is unique by event, kind and chat, so that a second settlement tells
nobody again. Its facts are JSON; the outbox makes the words at delivery, in the reader's language.
"""

import enum
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.insert import Insert, InsertConstant
from db.tables import OutboxMessage, StripeEvent

TOLD_DAYS_MAX: Final = 7
"""The desk tells no old news: a ledger row that came later than that, or a subscription that ended longer ago."""


_ONE_WORD: Final = re.compile(r"(?!-)[!-~]+")


def is_typable(event_id: str) -> bool:
    """Tell whether a person can type an id in a notice, or copy it whole."""
    return _ONE_WORD.fullmatch(event_id) is not None


def handle(event: StripeEvent) -> str:
    """Return the id by which a notice's command names an event, or the UUID of its row if nobody can type the id."""
    return event.event_id if is_typable(event.event_id) else event.id


def is_old_news(event: StripeEvent) -> bool:
    """Tell whether an event is too old for a notice: the ledger brought it more than TOLD_DAYS_MAX after it happened.

    The desk tells nobody of it, because the desk that ran before it has done so. Only the ledger brings anything so
    old, except for a retry out of quarantine: an update is a day old at most (Bot API, getUpdates).
    """
    recorded_at, happened_at = event.created_at, event.webhook_timestamp
    # A row recorded at the moment when the ledger showed it came from there.
    if recorded_at is None or happened_at is None or event.ledger_seen_at != recorded_at:
        return False
    return recorded_at - happened_at > timedelta(days=TOLD_DAYS_MAX)


class Notice(enum.StrEnum):
    """The kinds of notices: the reader of each, and its facts beside `charge_id`, `amount` and `currency`.

    Notices about a subscription as such have no amount.
    """

    GRANTED = "granted"
    """Buyer: `title`, `access`, a list of [entitlement type, until when in ISO 8601 or None], and `is_renewal`."""
    WAITING = "waiting"
    """Buyer: the payment is parked, and the seller decides."""
    GIVING_BACK = "giving_back"
    """Buyer: the desk gives the payment back; `reason`."""
    REFUNDED = "refunded"
    """Buyer: the money is back; `was_granted` (then the access is gone), `reason` (None: not given).

    `is_rest`, if there: partial refunds went before. `is_again`, if there: refunds had given back all of it before.
    """
    SUBSCRIPTION_CANCELED = "subscription_canceled"
    """Subscriber: cancelled at Telegram.

    This and the next six: `title` and code of the `plan`, `price_stars`, `renews_at` and `access_until` (ISO 8601;
    None: nothing is paid).
    """
    SUBSCRIPTION_ACTIVE = "subscription_active"
    """Subscriber: resumed at Telegram; no money has moved."""
    SUBSCRIPTION_FAILED = "subscription_failed"
    """Subscriber: Telegram could not take the renewal's price; `access_until` has the grace in it."""
    SUBSCRIPTION_ENDED = "subscription_ended"
    """Subscriber: the time of the subscription is over."""
    RENEWAL_SOON = "renewal_soon"
    """Subscriber: some days before Telegram takes the next price."""
    RENEWAL_DONE = "renewal_done"
    """Subscriber: Telegram has changed the renewal as wanted; `renewal`, `because` (payments/renewals.py)."""
    RENEWAL_REFUSED = "renewal_refused"
    """Subscriber: Telegram refuses the change of the renewal; `renewal`, `reason`."""
    RENEWED_ANYWAY = "renewed_anyway"
    """Subscriber: a cancelled subscription renewed, and the desk ends it again; the facts of a subscription, `because`.
    """
    ACCESS_ENDS_SOON = "access_ends_soon"
    """Buyer of a plan for some days: `title` and code of the `plan`, `until`."""
    PARTLY_REFUNDED = "partly_refunded"
    """Buyer: a partial refund is through, and the access stays."""
    CHARGED_BACK = "charged_back"
    """Buyer: the bank took the money back, and the access is gone."""
    REFUND_DONE = "refund_done"
    """The admin who requested a refund: `buyer` (Telegram id)."""
    PART_DONE = "part_done"
    """The admin who requested a refund: `buyer`; it is through, and an earlier refund of it returned meanwhile."""
    NOTHING_LEFT = "nothing_left"
    """The admin who requested a refund: `buyer`; other refunds had given back all of the charge."""
    PARKED = "parked"
    """Admins: `reason`, `buyer`; a charge or a refund that waits for them, and `retry_id`, which retries it.

    `is_settled`, if there: the event is settled, and later news about it waits. `is_over`, if there: the refund
    contradicts its charge, and nothing waits.
    """
    NOTHING_OPENED = "nothing_opened"
    """Admins: `buyer`; the desk has granted a parked charge, and all of the time that it paid for is over."""
    FOREIGN = "foreign"
    """Admins: `buyer`; a charge of another program on the same token."""
    REFUNDED_OUTSIDE = "refunded_outside"
    """Admins: `buyer`; a refund that nobody requested from the desk."""
    RENEWAL_STUCK = "renewal_stuck"
    """Admins: Telegram does not change a renewal as wanted; `title`, `buyer`, `renewal`, `because`, `reason`, and
    `retry_id`, which retries it."""
    RENEWED_UNWANTED = "renewed_unwanted"
    """Admins: a subscription renewed that is to end, or beside another one; as RENEWED_ANYWAY, and `buyer`."""
    PARTLY_REFUNDED_OUTSIDE = "partly_refunded_outside"
    """Admins: `buyer`; a partial refund that nobody requested from the desk; the access stays."""
    DISPUTED = "disputed"
    """Admins: `reason` (the bank's word), `buyer`; the buyer's bank asks for the money."""
    DISPUTE_CLOSED = "dispute_closed"
    """Admins: `reason` (how it ended), `buyer`."""
    REFUND_FAILED = "refund_failed"
    """Admins: `reason` (the provider's word), `buyer`; a refund returned to the seller.

    `stays`: `closed`, if refunds once gave back all of the charge and its access ended; else `open`.
    """
    LOST_PAYMENT = "lost_payment"
    """Admins: `stripe_id`, `paid_at`; a charge at Stripe that is not on record and most likely should be.

    `fits`: what it may be the payment of, each with `buyer`, `title`, `entitlements` and `days` (None: lifetime);
    `others`: the ids of charges that fit as well.
    """
    UNRECORDED = "unrecorded"
    """Admins: `reason`, `buyer`; news of Stripe about a charge that the audit table refuses."""
    QUARANTINED = "quarantined"
    """Admins: `reason`, `retry_id`; an unrecordable update that bears money (no `charge_id`)."""
    LEDGER = "ledger"
    """Admins: `finding`, `about`, `detail`, `here`, `there` (payments/ledger/findings.py); no money beside them."""
    UNDELIVERED = "undelivered"
    """Admins: `reader` (chat id), `about`, `why`; Telegram does not deliver the notice that `about` names."""
    ADMIN_CHAT_MOVED = "admin_chat_moved"
    """Admins: `old_chat_id`, `new_chat_id`; their group became a supergroup, and the setting names its old id."""
    INVOICE_REFUSED = "invoice_refused"
    """Admins: `title`, `plan`, `why` (Telegram's words); nobody can buy it in this currency. It has no charge."""
    CONFLICT = "conflict"
    """Admins: `why`; another program polls with the same token."""
    CLOCK = "clock"
    """Admins: `why`; the machine's clock is not Telegram's."""
    WEBHOOK = "webhook"
    """Admins: `why`; a webhook is set, and no poll gets anything until somebody removes it."""
    STRIPE_TROUBLE = "stripe_trouble"
    """Admins: `trouble` (payments/stripe/trouble.py), `why`, `read_at`; refunds made at Stripe have no effect here."""


REPLIES: Final = frozenset({Notice.REFUND_DONE, Notice.PART_DONE, Notice.NOTHING_LEFT})
"""Notices that answer an admin's /refund, in the chat and the topic of the command."""

_AFTER_A_BUTTON: Final = frozenset(
    {Notice.RENEWAL_DONE, Notice.RENEWAL_REFUSED, Notice.SUBSCRIPTION_CANCELED, Notice.SUBSCRIPTION_ACTIVE}
)
_REMINDERS: Final = frozenset({Notice.RENEWAL_SOON, Notice.ACCESS_ENDS_SOON})


class Urgency(enum.IntEnum):
    """The order of chats in which the outbox sends, the lowest first; a chat has that of its most urgent message."""

    REPLY = 0
    """A person has just asked for it, by a command or a button."""
    NEWS = 1
    """A payment, a refund, an alert."""
    REMINDER = 2
    """Something that ends or renews in some days."""


def urgency_of(notice: Notice) -> Urgency:
    """Return the urgency of a kind of notices."""
    if notice in REPLIES or notice in _AFTER_A_BUTTON:
        return Urgency.REPLY
    return Urgency.REMINDER if notice in _REMINDERS else Urgency.NEWS


_KEY: Final = ("event_id", "kind", "chat_id")


def _owed_again(insert: Insert) -> Insert:
    """Let a notice that is on record become due once more, with its new facts."""
    new = insert.excluded
    anew = {"facts": new.facts, "due_at": new.created_at, "attempts": 0, "sent_at": None, "error": None}
    return insert.on_conflict_do_update(index_elements=_KEY, set_=anew)


_OWED: Final = InsertConstant(OutboxMessage, lambda insert: insert.on_conflict_do_nothing(index_elements=_KEY))
_OWED_AGAIN: Final = InsertConstant(OutboxMessage, _owed_again)


async def owe(  # noqa: PLR0913 - all that a row of the outbox has
    session: AsyncSession,
    notice: Notice,
    *,
    event_id: str,
    chat_id: int,
    facts: dict[str, Any],
    now: datetime,
    held: bool = False,
    again: bool = False,
    topic_id: int | None = None,
) -> None:
    """Record a notice to a chat, or to a topic in it, due at once; a `held` one waits for `release`.

    A notice on record stays as it is; with `again` it becomes due once more, with these facts.
    """
    row = {
        "event_id": event_id,
        "kind": notice.value,
        "chat_id": chat_id,
        "topic_id": topic_id,
        "facts": json.dumps(facts),
        "created_at": now,
        "due_at": None if held else now,
    }
    await session.execute((_OWED_AGAIN if again else _OWED).on(session), row)


@dataclass(frozen=True, slots=True)
class Admins:
    """The admins and the chats where they read notices, made once from the settings."""

    ids: tuple[int, ...] = ()
    """Their Telegram ids."""
    group_id: int | None = None
    """The id of their group; None: there is no group."""
    topic_id: int | None = None
    """The topic of the group where alerts go; None: the group itself."""

    @property
    def chat_ids(self) -> tuple[int, ...]:
        """The chats for notices to admins: their group if there is one, else each admin's own."""
        return self.ids if self.group_id is None else (self.group_id,)

    async def tell(
        self,
        session: AsyncSession,
        notice: Notice,
        event_id: str,
        facts: Mapping[str, Any],
        now: datetime,
        *,
        again: bool = False,
    ) -> None:
        """Owe a notice to each chat of the admins, in the caller's transaction, as `owe` does."""
        for chat_id in self.chat_ids:
            await owe(session, notice, event_id=event_id, chat_id=chat_id, facts=dict(facts), now=now, again=again)


async def release(
    session: AsyncSession, notice: Notice, event_id: str, now: datetime, *, instead: Notice | None = None
) -> None:
    """Make the held notices of an event due, as they are or with another one `instead`."""
    for message in await _unsent(session, notice, event_id):
        message.due_at = now
        message.kind = (instead or notice).value


async def pass_on(session: AsyncSession, notice: Notice, event_id: str, heir: StripeEvent) -> None:
    """Move the held notices of an event to another one, with that one's facts about money."""
    for message in await _unsent(session, notice, event_id):
        message.event_id = heir.event_id
        message.facts = json.dumps(json.loads(message.facts) | money_facts(heir))


async def _unsent(session: AsyncSession, notice: Notice, event_id: str) -> Sequence[OutboxMessage]:
    query = select(OutboxMessage).where(
        OutboxMessage.event_id == event_id,
        OutboxMessage.kind == notice.value,
        OutboxMessage.sent_at.is_(None),
    )
    return (await session.scalars(query)).all()


def money_facts(event: StripeEvent) -> dict[str, Any]:
    """Return the facts that every notice about money has: the charge's id, and its amount in minor units."""
    charge_id = event.refund_of or event.event_id
    facts = {"charge_id": charge_id, "amount": event.amount_cents, "currency": event.currency}
    # The row's UUID stands for an id that nobody can type; the UUID of a refund names its charge as well.
    return facts if is_typable(charge_id) else facts | {"handle": event.id, "is_refund": event.refund_of is not None}
