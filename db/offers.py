"""The table of what the catalog has offered: the desk's own, filled by payments/sale/offered_terms.py."""

from datetime import datetime

from sqlalchemy import Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables import Base
from db.utc_datetime import UtcDateTime


class OfferedTerms(Base):
    """Terms that a plan of the catalog had once: a row for each length of access and each price in a currency.

    `term` is as the payload writes it (payments/sale/payload.py), `amount` in the currency's minor unit (Stars: Stars).
    """

    __tablename__ = "offered_terms"

    plan: Mapped[str] = mapped_column(Text, primary_key=True)
    term: Mapped[str] = mapped_column(Text, primary_key=True)
    currency: Mapped[str] = mapped_column(String(3), primary_key=True)
    amount: Mapped[int] = mapped_column(Integer, primary_key=True)
    first_offered_at: Mapped[datetime] = mapped_column(UtcDateTime)
