"""The small tables of the desk's own: whose database this is, what has been read, and which groups have moved."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Integer, Text, false, text
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base
from db.utc_datetime import UtcDateTime


class Desk(Base):
    """The one row that says whose database this is."""

    __tablename__ = "desk"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, default=1)
    bot_id: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (CheckConstraint("id = 1", name="ck_desk_one_row"),)


class LedgerReading(Base):
    """The one row that says how far Telegram's ledger has been read, and whether a whole pass over it is wanted.

    The sums are over the first `row_count` rows; `latest` holds the keys of the last of them, as JSON, by which what is
    read again is known. While `pass_wanted_at` is set, that pass alone settles events (payments/ledger/rebuild.py).
    """

    __tablename__ = "ledger"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, default=1)
    row_count: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    latest: Mapped[str] = mapped_column(Text, default="[]", server_default="[]")
    # What the rows add up to, what those of invoices do, and what our own rows of the same payments and refunds do.
    nanostars: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    payment_stars: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    event_stars: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    compared_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    balance_off_nanostars: Mapped[int | None] = mapped_column(BigInteger)
    # What Telegram said that the bot has, at `compared_at`.
    balance_nanostars: Mapped[int | None] = mapped_column(BigInteger)
    pass_wanted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    pass_begun_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    pass_trusts_unsigned: Mapped[bool] = mapped_column(default=False, server_default=false())

    __table_args__ = (CheckConstraint("id = 1", name="ck_ledger_one_row"),)


class StripeReading(Base):
    """The one row that says how far Stripe's events have been read."""

    __tablename__ = "stripe_reading"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, default=1)
    # Seconds since 1970, of the newest event that was read.
    newest: Mapped[int | None] = mapped_column(BigInteger)
    foreign_count: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    read_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (CheckConstraint("id = 1", name="ck_stripe_reading_one_row"),)


class MovedChat(Base):
    """A group that became a supergroup, which has an id of its own (Bot API, Message: migrate_to_chat_id)."""

    __tablename__ = "moved_chats"

    chat_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    moved_to: Mapped[int] = mapped_column(BigInteger)
    noted_at: Mapped[datetime] = mapped_column(UtcDateTime)
