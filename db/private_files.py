"""Private files: their owner alone can read them, whatever the umask, because they hold every payment."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700


def open_private(path: str, flags: int) -> int:
    """Open a private file as the `opener` of `open`; a new file gets mode 600."""
    return os.open(path, flags, FILE_MODE)


def make_private(file: Path) -> None:
    """Make an empty private file, and its directory, if they do not exist.

    SQLite takes an empty file for a new database, and gives the files beside it the same mode (sqlite.org/walformat).
    Raises OSError when the system does not let us make the directory.
    """
    file.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    # The caller that opens the file reports an error.
    with suppress(OSError):
        os.close(os.open(file, os.O_CREAT | os.O_RDONLY, FILE_MODE))
