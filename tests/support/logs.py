"""Log lines as records or as text, for the tests."""

from contextlib import contextmanager
from typing import TYPE_CHECKING

from loguru import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loguru import Message, Record


@contextmanager
def log_lines(line_format: str = "{level}: {message}") -> "Iterator[list[str]]":
    """Collect what is logged in the block from INFO on, each as a line of a format of loguru's."""
    lines: list[str] = []
    sink = logger.add(lines.append, level="INFO", format=line_format)
    try:
        yield lines
    finally:
        logger.remove(sink)


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
