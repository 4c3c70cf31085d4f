"""The desk's lock of a SQLite file: a lock file beside it, which the kernel frees when the process ends."""

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from db.address import Server
from db.errors import AnotherDeskError
from db.lock.holder import Holder
from db.private_files import make_private


class FileLock:
    """The desk's lock of a SQLite database: a second desk says so and ends."""

    is_standing_by: bool
    holder: Holder | None
    trouble: str | None
    on_doubt: Callable[[], None]
    server: Server | None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None
        self.is_standing_by = False
        self.holder = self.trouble = self.server = None
        self.on_doubt = lambda: None

    async def acquire(self) -> None:
        """Lock the lock file. Raises AnotherDeskError when another desk has locked it."""
        # A start that waits for its database calls again, and keeps the lock in between.
        if self._file is not None:
            return
        make_private(self._path)
        file = self._path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise AnotherDeskError(f"another desk is running on this database ({self._path} is locked)") from None
        self._file = file

    async def ensure(self) -> None:
        """Do nothing for a lock file.

        The lock needs no care, because the kernel keeps the file locked for as long as the process lives.
        """

    async def release(self) -> None:
        """Unlock the lock file."""
        if self._file is not None:
            self._file.close()
            self._file = None
