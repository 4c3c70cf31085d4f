"""What was deleted in SQLite leaves the file with the next change; the write-ahead log keeps it until it is emptied."""

import sqlite3
from contextlib import closing
from pathlib import Path

from db.engine import SQLITE_BUSY_MILLISECONDS


def empty_log(file: Path) -> bool:
    """Bring the write-ahead log into the database and empty it (sqlite.org/pragma, wal_checkpoint).

    False: somebody reads what is in it, and a later one empties it. Raises sqlite3.Error.
    """
    seconds = SQLITE_BUSY_MILLISECONDS / 1000
    with closing(sqlite3.connect(file, timeout=seconds)) as connection:
        is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not is_busy
