"""Files that only their owner reads, whatever the umask says: every payment is in them."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700


def private(path: str, flags: int) -> int:
    """Open a file as `open` does, for which it is the opener; one that is made is its owner's alone."""
    return os.open(path, flags, FILE_MODE)


def make_private(file: Path) -> None:
    """Make a file that is not there yet, empty, its owner's alone; and its directory, as much so, if that is missing.

    SQLite takes an empty file for a new database, and gives the files beside it the same mode (sqlite.org/walformat).
    Raises OSError when the directory cannot be made.
    """
    file.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    # Whoever opens it says in words why that cannot be.
    with suppress(OSError):
        os.close(os.open(file, os.O_CREAT | os.O_RDONLY, FILE_MODE))
