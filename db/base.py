"""Parts of every table: the declarative base, UUIDs as keys, and partial indexes."""

from uuid import uuid4

from sqlalchemy import Index, TextClause
from sqlalchemy.orm import DeclarativeBase


def index_of_some(name: str, *columns: str, where: TextClause, unique: bool = False) -> Index:
    """Return a partial index, which holds the rows that meet a condition, on either engine."""
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


def new_id() -> str:
    """Return a new UUID for the key of a row, as text of 36 characters."""
    return str(uuid4())


class Base(DeclarativeBase):
    """The declarative base of every database table."""
