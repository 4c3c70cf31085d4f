"""What all tables are made with."""

from uuid import uuid4

from sqlalchemy import Index, TextClause
from sqlalchemy.orm import DeclarativeBase


def index_of_some(name: str, *columns: str, where: TextClause, unique: bool = False) -> Index:
    """Return an index that holds the rows which meet a condition, on either engine."""
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


def new_id() -> str:
    """Return a fresh UUID as text of 36 characters."""
    return str(uuid4())


class Base(DeclarativeBase):
    """The declarative base of every table."""
