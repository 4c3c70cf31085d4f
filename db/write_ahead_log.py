"""Empties SQLite's write-ahead log, which keeps deleted rows until then."""

import sqlite3
from contextlib import closing
from pathlib import Path

from db.timings import PRODUCTION


def empty_write_ahead_log(file: Path) -> bool:
    """Move SQLite's write-ahead log into the database file and empty it (sqlite.org/pragma, wal_checkpoint).

    False: a reader still uses the log, and a later checkpoint empties it. Raises sqlite3.Error.
    """
    with closing(sqlite3.connect(file, timeout=PRODUCTION.sqlite_busy_seconds)) as connection:
        is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not is_busy
