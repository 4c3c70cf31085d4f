"""All tables of the desk, in the order in which rows are locked: users, events, grants, entitlements.

`users`, `stripe_events`, `entitlement_grants`, `entitlements` (with the view `active_entitlements`), `subscriptions`
and `ledger_rows` are shared with other services and documented in docs/database.md; the others are the desk's own. The
rules that no CHECK can say (which states follow which, what is written once, that money rows are never deleted) are
triggers: db/rules.py.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base as Base  # noqa: PLC0414 - the tables' readers find it beside them
from db.base import index_of_some
from db.base import new_id as new_id  # noqa: PLC0414 - the tables' readers find it beside them
from db.desk_tables import Desk as Desk  # noqa: PLC0414 - the tables' readers find it beside them
from db.desk_tables import LedgerReading as LedgerReading  # noqa: PLC0414 - the tables' readers find it beside them
from db.desk_tables import MovedChat as MovedChat  # noqa: PLC0414 - the tables' readers find it beside them
from db.desk_tables import StripeReading as StripeReading  # noqa: PLC0414 - the tables' readers find it beside them
from db.states import EventStatus as EventStatus  # noqa: PLC0414 - the tables' readers find it beside them
from db.states import Outcome as Outcome  # noqa: PLC0414 - the tables' readers find it beside them
from db.states import Renewal as Renewal  # noqa: PLC0414 - the tables' readers find it beside them
from db.states import SubscriptionState as SubscriptionState  # noqa: PLC0414 - the tables' readers find it beside them
from db.utc_datetime import UtcDateTime

ORIGIN: Final = "starledger"
"""`stripe_events.origin` of the rows that this program wrote. Rows of others are read, never touched."""

VERSION_TABLE: Final = "starledger_version"
"""Alembic's table, of our own: the database is shared, and another program's `alembic_version` is left alone."""

TELEGRAM_STARS: Final = "telegram_stars"
"""`stripe_events.payment_method` of payments in Telegram Stars."""

STRIPE: Final = "stripe"
"""`stripe_events.payment_method` of payments by card, ours and other services'."""

STARS_CURRENCY: Final = "XTR"
"""Telegram's currency code for Stars; they have no minor unit (Bot API, sendInvoice)."""

# The rows that the partial indexes hold.
_EVENT_UNSETTLED: Final = text("status = 0")
_EVENT_UNSEEN: Final = text(f"ledger_seen_at IS NULL AND origin = '{ORIGIN}'")
_EVENT_IS_REFUND: Final = text("refund_of IS NOT NULL")
_EVENT_HAS_MORE: Final = text("status = 1 AND error IS NOT NULL")
_RENEWAL_GIVEN_UP: Final = text("error IS NOT NULL AND due_at IS NULL")
_CHECKOUT_BY_CARD: Final = text(f"verdict = 'accepted' AND currency <> '{STARS_CURRENCY}'")
_CHECKOUT_DECLINED: Final = text("declined_on IS NOT NULL")
_CHANGE_UNSETTLED: Final = text("settled_at IS NULL")
_MESSAGE_WAITS: Final = text("due_at IS NOT NULL")
_ROW_IS_A_COST: Final = text("commission_nanostars IS NOT NULL OR charge_id IS NULL")


class User(Base):
    """A person. `telegram_id` is None for users of other services."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    telegram_id: Mapped[int | None] = mapped_column(BigInteger)
    username: Mapped[str | None] = mapped_column(Text)
    language_code: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # When the name was erased on request: none is taken down from then on.
    erased_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        Index("ux_users_telegram_id", "telegram_id", unique=True),
        Index("ix_users_username_lower", func.lower(username)),
    )


class StripeEvent(Base):
    """One audit row for each payment event of any channel; the name is that of the older services on the database."""

    __tablename__ = "stripe_events"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    event_id: Mapped[str] = mapped_column(Text, unique=True)
    event_type: Mapped[str] = mapped_column(Text)
    payment_method: Mapped[str] = mapped_column(Text)
    customer_id: Mapped[str] = mapped_column(String(36), ForeignKey("users.id"))
    amount_cents: Mapped[int] = mapped_column(Integer)
    currency: Mapped[str] = mapped_column(String(3))
    status: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    webhook_timestamp: Mapped[datetime | None] = mapped_column(UtcDateTime)
    processed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    outcome: Mapped[str | None] = mapped_column(Text)
    origin: Mapped[str | None] = mapped_column(Text)
    refund_of: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    requested_by: Mapped[str | None] = mapped_column(Text)
    # Of a parked refund that was asked for anew: a JSON list of who asked before, and why, the oldest first.
    asked_before: Mapped[str | None] = mapped_column(Text)
    # What Telegram says of a charge beside its amount; a None may be filled when it becomes known.
    payload: Mapped[str | None] = mapped_column(Text)
    is_recurring: Mapped[bool | None]
    is_first_recurring: Mapped[bool | None]
    subscription_expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # The update that told of a charge: it orders charges among the updates of subscriptions, which bear no date.
    update_id: Mapped[int | None] = mapped_column(BigInteger)
    # The work that is still to be done on it. `due_at` None: nothing.
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error: Mapped[str | None] = mapped_column(Text)
    # Of a refund that was sent: the attempt of which it is not known that it failed.
    attempt_key: Mapped[str | None] = mapped_column(String(36))
    # When Telegram's ledger was first seen to have it; None: not yet.
    ledger_seen_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # When it was parked for the first time.
    parked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        Index("ix_stripe_events_customer_id", "customer_id"),
        Index("ix_stripe_events_status", "status"),
        Index("ix_stripe_events_created_at", "created_at"),
        # When it happened: the first of the three that is known.
        Index("ix_stripe_events_happened_at", "webhook_timestamp", "created_at", "processed_at"),
        Index("ix_stripe_events_due_at", "due_at"),
        index_of_some("ix_stripe_events_refund_of", "refund_of", where=_EVENT_IS_REFUND),
        # Few rows at any time: what is not settled, in Telegram's order, and what the ledger was not seen to have.
        index_of_some("ix_stripe_events_unsettled", "webhook_timestamp", "event_id", where=_EVENT_UNSETTLED),
        index_of_some("ix_stripe_events_unseen", "created_at", where=_EVENT_UNSEEN),
        # Few rows: what is settled, and of which something that was learned later could not be taken in.
        index_of_some("ix_stripe_events_has_more", "created_at", where=_EVENT_HAS_MORE),
    )


class EntitlementGrant(Base):
    """One grant: so many days, or until a date, or (both None) for ever."""

    __tablename__ = "entitlement_grants"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(String(36), ForeignKey("users.id"))
    entitlement_type: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    granted_at: Mapped[datetime] = mapped_column(UtcDateTime)
    duration_days: Mapped[int | None]
    ends_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoke_reason: Mapped[str | None] = mapped_column(Text)
    # Who gave or took it by hand, and why it was given; reasons may be erased.
    granted_by: Mapped[str | None] = mapped_column(Text)
    grant_reason: Mapped[str | None] = mapped_column(Text)
    revoked_by: Mapped[str | None] = mapped_column(Text)
    # When it was recorded, if the desk's clock was behind `granted_at`: it opens from then on.
    opened_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        UniqueConstraint("source", "entitlement_type", name="ux_entitlement_grants_source_type"),
        CheckConstraint("duration_days IS NULL OR ends_at IS NULL", name="ck_entitlement_grants_one_length"),
        CheckConstraint("duration_days > 0", name="ck_entitlement_grants_days_positive"),
        Index("ix_entitlement_grants_user_type", "user_id", "entitlement_type"),
    )


class Entitlement(Base):
    """What stands now for one user and type: the fold of the grants (entitlements/fold.py), written with them."""

    __tablename__ = "entitlements"

    user_id: Mapped[str] = mapped_column(String(36), ForeignKey("users.id"), primary_key=True)
    entitlement_type: Mapped[str] = mapped_column(Text, primary_key=True)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_entitlements_expires_at", "expires_at"),)


class Subscription(Base):
    """A subscription at Telegram, known by its first charge: a function of its charges, its changes and the clock.

    payments/subscriptions/book.py writes it, but for what is wanted of its renewal (wanted.py, editor.py).
    """

    __tablename__ = "subscriptions"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    first_charge_id: Mapped[str] = mapped_column(Text)
    last_charge_id: Mapped[str] = mapped_column(Text)
    user_id: Mapped[str] = mapped_column(String(36), ForeignKey("users.id"))
    plan: Mapped[str] = mapped_column(Text)
    payload: Mapped[str] = mapped_column(Text)
    price_stars: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(Text)
    current_period_end: Mapped[datetime] = mapped_column(UtcDateTime)
    paid_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # When time alone changes something next; None: never again.
    check_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # When the row was last made anew by our clock: what lies ahead was made before the clock was set back.
    checked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # The newest row of subscription_changes that has been taken into account.
    change_id: Mapped[int | None] = mapped_column(BigInteger)
    # What is to be brought about at Telegram, and why. `due_at` None: nothing is to be done.
    renewal_wanted: Mapped[str | None] = mapped_column(Text)
    wanted_because: Mapped[str | None] = mapped_column(Text)
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        UniqueConstraint("first_charge_id", name="ux_subscriptions_first_charge_id"),
        Index("ix_subscriptions_user_id", "user_id"),
        Index("ix_subscriptions_check_at", "check_at"),
        Index("ix_subscriptions_checked_at", "checked_at"),
        Index("ix_subscriptions_due_at", "due_at"),
        # Few rows at any time: what Telegram refused, or what it was asked for in vain.
        index_of_some("ix_subscriptions_given_up", "renewal_wanted", "current_period_end", where=_RENEWAL_GIVEN_UP),
    )


class SubscriptionChange(Base):
    """A change of state that Telegram told of, or (`update_id` None) that the desk has made there itself.

    What Telegram tells names a user and a payload only; the desk's own change names the first charge, `charge_id`.
    Unique by the update's id and what it says: the ids restart after a quiet week (Bot API, Update).
    """

    __tablename__ = "subscription_changes"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    user_id: Mapped[str] = mapped_column(String(36), ForeignKey("users.id"))
    payload: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    update_id: Mapped[int | None] = mapped_column(BigInteger)
    charge_id: Mapped[str | None] = mapped_column(Text)
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime)
    settled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        UniqueConstraint("update_id", "user_id", "payload", "state", name="ux_subscription_changes_update"),
        Index("ix_subscription_changes_user_id", "user_id"),
        index_of_some("ix_subscription_changes_unsettled", "id", where=_CHANGE_UNSETTLED),
    )


class Checkout(Base):
    """One pre-checkout query: it proves that we can write, and tells what was started and not paid.

    Of those that were declined, the first one of an account, a payload and a day (`declined_on`, YYYY-MM-DD) is kept.
    """

    __tablename__ = "checkouts"

    query_id: Mapped[str] = mapped_column(Text, primary_key=True)
    telegram_id: Mapped[int] = mapped_column(BigInteger)
    amount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(Text)
    payload: Mapped[str] = mapped_column(Text)
    verdict: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    declined_on: Mapped[str | None] = mapped_column(String(10))

    __table_args__ = (
        Index("ix_checkouts_created_at", "created_at"),
        index_of_some(
            *("ux_checkouts_declined", "telegram_id", "payload", "declined_on"), where=_CHECKOUT_DECLINED, unique=True
        ),
        # What was accepted by card, for whoever looks for its payment (payments/stripe/lost_payments.py).
        index_of_some("ix_checkouts_by_card", "created_at", "query_id", where=_CHECKOUT_BY_CARD),
        index_of_some("ix_checkouts_by_card_payload", "payload", where=_CHECKOUT_BY_CARD),
    )


class OutboxMessage(Base):
    """A message that somebody must get: on record before it is tried, unique by event, kind and chat."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    event_id: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    chat_id: Mapped[int] = mapped_column(BigInteger)
    # The topic of the order that it answers (Bot API, sendMessage: message_thread_id).
    topic_id: Mapped[int | None] = mapped_column(BigInteger)
    facts: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        UniqueConstraint("event_id", "kind", "chat_id", name="ux_outbox_event_kind_chat"),
        Index("ix_outbox_due_at", "due_at"),
        # What waits before a message of the same chat; the rows that are done with stay out of it.
        index_of_some("ix_outbox_waiting", "chat_id", "id", where=_MESSAGE_WAITS),
    )


class QuarantinedUpdate(Base):
    """An update that bears money and that the audit table would not take; raw, for an admin to look at.

    `id` is made of the raw text: an update that comes again is the same row, and `update_id` may restart.
    """

    __tablename__ = "quarantine"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    update_id: Mapped[int] = mapped_column(BigInteger)
    raw: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    resolved_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class LedgerEntry(Base):
    """One row of Telegram's ledger as it came, known by its id and direction: a charge and its refund share the id.

    Telegram's facts are written once; a withdrawal's `state` alone changes. `place` is where in the ledger it was seen.
    """

    __tablename__ = "ledger_rows"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    direction: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    amount_nanostars: Mapped[int] = mapped_column(BigInteger)
    happened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # Of a withdrawal: pending, succeeded, failed.
    state: Mapped[str | None] = mapped_column(Text)
    telegram_id: Mapped[int | None] = mapped_column(BigInteger)
    charge_id: Mapped[str | None] = mapped_column(Text)
    # What an affiliate received of it, or gave back with a refund.
    commission_nanostars: Mapped[int | None] = mapped_column(BigInteger)
    affiliate_id: Mapped[int | None] = mapped_column(BigInteger)
    place: Mapped[int | None] = mapped_column(BigInteger)
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        CheckConstraint("direction IN ('in', 'out')", name="ck_ledger_rows_direction"),
        CheckConstraint("amount_nanostars >= 0", name="ck_ledger_rows_amount"),
        Index("ix_ledger_rows_happened_at", "happened_at"),
        index_of_some("ix_ledger_rows_pending", "place", where=text("state = 'pending'")),
        index_of_some("ix_ledger_rows_costs", "happened_at", where=_ROW_IS_A_COST),
    )
