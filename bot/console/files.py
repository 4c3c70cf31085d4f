"""The files that the operator's commands write."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TextIO

import typer

from db.private_files import open_private

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Characters that a spreadsheet takes for the start of a formula, in wide letters as well (OWASP, CSV injection)."""


def written(file: Path) -> TextIO:
    """Open a text file to be written, in place of one that is there. Raises typer.BadParameter when that cannot be."""
    with _told(file):
        return open(file, "w", encoding="utf-8", newline="", opener=open_private)


def written_bytes(file: Path) -> BinaryIO:
    """Open a file of bytes to be written, as `written` does."""
    with _told(file):
        return open(file, "wb", opener=open_private)


@contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be written: {error.strerror}") from error


def no_formula(text: str) -> str:
    """Return a text as a cell that no spreadsheet takes for a formula."""
    # Some programs drop spaces and what cannot be seen before they look.
    plain = text.replace("\0", "")
    return f"'{plain}" if plain.lstrip(" \u00a0\u200b\ufeff").startswith(_FORMULA) else plain
