"""Files that the operator's commands write: opened for their owner alone, with cells that are no formulas."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TextIO

import typer

from db.private_files import open_private

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Characters that begin a formula in a spreadsheet, in wide letters as well (OWASP, CSV injection)."""


def written(file: Path) -> TextIO:
    """Open a text file for writing, in place of one that is there. Raises typer.BadParameter when that fails."""
    with _told(file):
        return open(file, "w", encoding="utf-8", newline="", opener=open_private)


def written_bytes(file: Path) -> BinaryIO:
    """Open a binary file for writing, as `written` does."""
    with _told(file):
        return open(file, "wb", opener=open_private)


@contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be written: {error.strerror}") from error


def no_formula(text: str) -> str:
    """Return a text as a cell that no spreadsheet reads as a formula."""
    # Some programs drop spaces and invisible characters before they look.
    plain = text.replace("\0", "")
    return f"'{plain}" if plain.lstrip(" \u00a0\u200b\ufeff").startswith(_FORMULA) else plain
