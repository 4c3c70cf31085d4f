"""Log lines as records, for the tests."""

from contextlib import contextmanager
from typing import TYPE_CHECKING

from loguru import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loguru import Message, Record


@contextmanager
def logged(level: str = "INFO") -> "Iterator[list[Record]]":
    """Collect what is logged in the block at a level or above."""
    records: list[Record] = []

    def keep(message: "Message") -> None:
        records.append(message.record)

    sink = logger.add(keep, level=level)
    try:
        yield records
    finally:
        logger.remove(sink)
