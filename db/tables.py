"""The shared tables, in the order in which the desk locks rows: users, events, grants, entitlements, subscriptions.

The desk shares `users`, `stripe_events`, `entitlement_grants`, `entitlements` (with the view `active_entitlements`),
`subscriptions` and `ledger_rows` with other services; docs/database.md documents them. The desk's own tables are in
desk_tables.py, and this module exports them as well. Triggers hold the rules that no CHECK can express (the order of
states, facts that the desk writes once, money rows that nobody can delete): db/rules.py.
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

from db.base import Base, index_of_some, new_id
from db.desk_tables import (
    Checkout,
    DeskRow,
    LedgerReading,
    MovedChat,
    OfferedTerms,
    OutboxMessage,
    QuarantinedUpdate,
    StripeReading,
)
from db.states import ORIGIN
from db.utc_datetime import UtcDateTime

__all__ = [
    "VERSION_TABLE",
    "Base",
    "Checkout",
    "DeskRow",
    "Entitlement",
    "EntitlementGrant",
    "LedgerEntry",
    "LedgerReading",
    "MovedChat",
    "OfferedTerms",
    "OutboxMessage",
    "QuarantinedUpdate",
    "StripeEvent",
    "StripeReading",
    "Subscription",
    "SubscriptionChange",
    "User",
    "new_id",
]

VERSION_TABLE: Final = "starledger_version"
"""Alembic's table, with a name of our own, because another program on the database may use `alembic_version`."""

# The rows that the partial indexes hold.
_EVENT_UNSETTLED: Final = text("status = 0")
_EVENT_UNSEEN: Final = text(f"ledger_seen_at IS NULL AND origin = '{ORIGIN}'")
_EVENT_IS_REFUND: Final = text("refund_of IS NOT NULL")
_EVENT_HAS_MORE: Final = text("status = 1 AND error IS NOT NULL")
_RENEWAL_GIVEN_UP: Final = text("error IS NOT NULL AND due_at IS NULL")
_CHANGE_UNSETTLED: Final = text("settled_at IS NULL")
_ROW_IS_A_COST: Final = text("commission_nanostars IS NOT NULL OR charge_id IS NULL")


class User(Base):
    """The table `users`: a person. `telegram_id` is None for users of other services."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    telegram_id: Mapped[int | None] = mapped_column(BigInteger)
    username: Mapped[str | None] = mapped_column(Text)
    language_code: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # When the desk erased the name on request: it records no name from then on.
    erased_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        Index("ux_users_telegram_id", "telegram_id", unique=True),
        Index("ix_users_username_lower", func.lower(username)),
    )


class StripeEvent(Base):
    """The table `stripe_events`: one audit row for each payment event of any channel.

    The name is that of the older services on the database.
    """

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
    # The former requesters and reasons of a parked refund with a new request: a JSON list, the oldest first.
    asked_before: Mapped[str | None] = mapped_column(Text)
    # Telegram's facts about a charge beside its amount; the desk fills a None when it learns the fact.
    payload: Mapped[str | None] = mapped_column(Text)
    is_recurring: Mapped[bool | None]
    is_first_recurring: Mapped[bool | None]
    subscription_expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # The update that brought a charge: it orders charges among the updates of subscriptions, which bear no date.
    update_id: Mapped[int | None] = mapped_column(BigInteger)
    # The work that the event still needs. `due_at` None: none.
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error: Mapped[str | None] = mapped_column(Text)
    # The idempotency key of a refund's attempt, until the desk knows that the attempt has failed.
    attempt_key: Mapped[str | None] = mapped_column(String(36))
    # When the desk first saw the event in Telegram's ledger; None: not yet.
    ledger_seen_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # When the desk first parked the event.
    parked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        Index("ix_stripe_events_customer_id", "customer_id"),
        Index("ix_stripe_events_status", "status"),
        Index("ix_stripe_events_created_at", "created_at"),
        # The event's own time: the first of the three that is known.
        Index("ix_stripe_events_happened_at", "webhook_timestamp", "created_at", "processed_at"),
        Index("ix_stripe_events_due_at", "due_at"),
        index_of_some("ix_stripe_events_refund_of", "refund_of", where=_EVENT_IS_REFUND),
        # Few rows at any time: unsettled events in Telegram's order, and events not yet seen in the ledger.
        index_of_some("ix_stripe_events_unsettled", "webhook_timestamp", "event_id", where=_EVENT_UNSETTLED),
        index_of_some("ix_stripe_events_unseen", "created_at", where=_EVENT_UNSEEN),
        # Few rows: settled events with a later fact that the desk could not apply.
        index_of_some("ix_stripe_events_has_more", "created_at", where=_EVENT_HAS_MORE),
    )


class EntitlementGrant(Base):
    """The table `entitlement_grants`: one grant, for a number of days, until a date, or (both None) for life."""

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
    # The admins who granted and revoked by hand, and the reason of the grant; the desk may erase reasons.
    granted_by: Mapped[str | None] = mapped_column(Text)
    grant_reason: Mapped[str | None] = mapped_column(Text)
    revoked_by: Mapped[str | None] = mapped_column(Text)
    # When the desk recorded the grant, if its clock was behind `granted_at`: the grant opens from then on.
    opened_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        UniqueConstraint("source", "entitlement_type", name="ux_entitlement_grants_source_type"),
        CheckConstraint("duration_days IS NULL OR ends_at IS NULL", name="ck_entitlement_grants_one_length"),
        CheckConstraint("duration_days > 0", name="ck_entitlement_grants_days_positive"),
        Index("ix_entitlement_grants_user_type", "user_id", "entitlement_type"),
    )


class Entitlement(Base):
    """The table `entitlements`: the fold of one user's grants of one type (entitlements/fold.py), written with them."""

    __tablename__ = "entitlements"

    user_id: Mapped[str] = mapped_column(String(36), ForeignKey("users.id"), primary_key=True)
    entitlement_type: Mapped[str] = mapped_column(Text, primary_key=True)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_entitlements_expires_at", "expires_at"),)


class Subscription(Base):
    """The table `subscriptions`: one row for each subscription at Telegram, named by its first charge.

    Its row is a function of its charges, its changes and the clock. payments/subscriptions/book.py writes it, but for
    the wanted renewal (payments/renewals.py, payments/subscriptions/editor.py).
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
    # The next moment at which time alone changes the row; None: never again.
    check_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # When the desk last computed the row, by its clock: a moment in the future means that somebody has set the clock
    # back.
    checked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # The newest row of subscription_changes that the row includes.
    change_id: Mapped[int | None] = mapped_column(BigInteger)
    # The state of the renewal that the desk wants at Telegram, and why. `due_at` None: nothing to do.
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
        # Few rows at any time: renewals whose change Telegram refused, or did not make after many attempts.
        index_of_some("ix_subscriptions_given_up", "renewal_wanted", "current_period_end", where=_RENEWAL_GIVEN_UP),
    )


class SubscriptionChange(Base):
    """The table `subscription_changes`: a subscription's change of state, by Telegram or (`update_id` None) by us.

    Telegram's update names only a user and a payload; the desk's own change names the first charge, `charge_id`. A row
    is unique by the update's id and content, because the ids restart after a quiet week (Bot API, Update).
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


class LedgerEntry(Base):
    """The table `ledger_rows`: one row of Telegram's ledger, named by its id and direction.

    A charge and its refund share the id. The desk writes Telegram's facts once; only a withdrawal's `state` changes.
    `place` is the row's position in the ledger.
    """

    __tablename__ = "ledger_rows"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    direction: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    amount_nanostars: Mapped[int] = mapped_column(BigInteger)
    happened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # The state of a withdrawal: pending, succeeded or failed.
    state: Mapped[str | None] = mapped_column(Text)
    telegram_id: Mapped[int | None] = mapped_column(BigInteger)
    charge_id: Mapped[str | None] = mapped_column(Text)
    # The commission that an affiliate received, or gave back with a refund.
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
