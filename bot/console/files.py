"""The files that the operator's commands write."""

from pathlib import Path
from typing import Final, TextIO

import typer

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


def written(file: Path) -> TextIO:
    """Open a text file to be written, in place of one that is there. Raises typer.BadParameter when that cannot be."""
    try:
        return file.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be written: {error.strerror}") from error


def no_formula(text: str) -> str:
    """Return a text as a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
