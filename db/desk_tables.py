"""The desk's own tables: its bot, reading positions, pre-checkouts, outbox, quarantine, moved groups, offered terms."""

from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Index, Integer, String, Text, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, index_of_some
from db.states import STARS_CURRENCY
from db.utc_datetime import UtcDateTime

# The rows that the partial indexes hold.
_CHECKOUT_BY_CARD: Final = text(f"verdict = 'accepted' AND currency <> '{STARS_CURRENCY}'")
_CHECKOUT_DECLINED: Final = text("declined_on IS NOT NULL")
_MESSAGE_WAITS: Final = text("due_at IS NOT NULL")


class DeskRow(Base):
    """The table `desk`: one row with the id of the bot that owns the database."""

    __tablename__ = "desk"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, default=1)
    bot_id: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (CheckConstraint("id = 1", name="ck_desk_one_row"),)


class LedgerReading(Base):
    """The table `ledger`: one row with the desk's reading position in Telegram's ledger, and the pass that it owes.

    The sums are over the first `row_count` rows; `latest` holds the keys of the last of them as JSON, by which the desk
    recognizes rows that it reads again. While `pass_wanted_at` is set, that pass alone settles events
    (payments/ledger/rebuild.py).
    """

    __tablename__ = "ledger"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, default=1)
    row_count: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    latest: Mapped[str] = mapped_column(Text, default="[]", server_default="[]")
    # The sum of the rows, of the rows of invoices, and of our own rows of the same payments and refunds.
    nanostars: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    payment_stars: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    event_stars: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    compared_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    balance_off_nanostars: Mapped[int | None] = mapped_column(BigInteger)
    # The bot's balance by Telegram at `compared_at`.
    balance_nanostars: Mapped[int | None] = mapped_column(BigInteger)
    pass_wanted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    pass_begun_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    pass_trusts_unsigned: Mapped[bool] = mapped_column(default=False, server_default=false())

    __table_args__ = (CheckConstraint("id = 1", name="ck_ledger_one_row"),)


class StripeReading(Base):
    """The table `stripe_reading`: one row with the desk's reading position among Stripe's events."""

    __tablename__ = "stripe_reading"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, default=1)
    # The time of the newest event that the desk has read, in seconds since 1970.
    newest: Mapped[int | None] = mapped_column(BigInteger)
    foreign_count: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    read_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (CheckConstraint("id = 1", name="ck_stripe_reading_one_row"),)


class MovedChat(Base):
    """The table `moved_chats`: groups that became supergroups with a new id (Bot API, Message: migrate_to_chat_id)."""

    __tablename__ = "moved_chats"

    chat_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    moved_to: Mapped[int] = mapped_column(BigInteger)
    noted_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Checkout(Base):
    """The table `checkouts`: one row for each pre-checkout query.

    The row proves that the desk can write, and shows a purchase that a buyer started and did not pay. Of declined
    queries the desk keeps the first of an account, a payload and a day (`declined_on`, YYYY-MM-DD).
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
        # Accepted pre-checkouts by card, for the search for lost payments (payments/stripe/lost_payments.py).
        index_of_some("ix_checkouts_by_card", "created_at", "query_id", where=_CHECKOUT_BY_CARD),
        index_of_some("ix_checkouts_by_card_payload", "payload", where=_CHECKOUT_BY_CARD),
    )


class OutboxMessage(Base):
    """The table `outbox`: messages that somebody must get, recorded before the desk tries to send them.

    A message is unique by event, kind and chat.
    """

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    event_id: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    chat_id: Mapped[int] = mapped_column(BigInteger)
    # The topic of the command that the message answers (Bot API, sendMessage: message_thread_id).
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
        # Messages that still wait, by chat: the earlier ones of a chat go first.
        index_of_some("ix_outbox_waiting", "chat_id", "id", where=_MESSAGE_WAITS),
    )


class QuarantinedUpdate(Base):
    """The table `quarantine`: raw updates with money that the audit table refuses, for an admin.

    `id` comes from the raw text, because `update_id` may restart: an update that comes again is the same row.
    """

    __tablename__ = "quarantine"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    update_id: Mapped[int] = mapped_column(BigInteger)
    raw: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    resolved_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class OfferedTerms(Base):
    """The table `offered_terms`: each length of access and each price that a plan of the catalog has had.

    payments/sale/offered_terms.py writes it. `term` is as the payload writes it (payments/sale/payload.py), `amount` in
    the currency's minor unit (Stars: Stars).
    """

    __tablename__ = "offered_terms"

    plan: Mapped[str] = mapped_column(Text, primary_key=True)
    term: Mapped[str] = mapped_column(Text, primary_key=True)
    currency: Mapped[str] = mapped_column(String(3), primary_key=True)
    amount: Mapped[int] = mapped_column(Integer, primary_key=True)
    first_offered_at: Mapped[datetime] = mapped_column(UtcDateTime)
