"""A backup of a SQLite database while the desk uses it, by SQLite's online backup (sqlite.org/backup.html)."""

import sqlite3
from contextlib import closing
from pathlib import Path

from db.timings import PRODUCTION


def copy_sqlite(source: Path, target: Path) -> None:
    """Back up a SQLite database in use from `source` to `target`, which its owner alone can read; check the copy.

    Writers do not wait, because a reader in WAL mode sees one moment. Blocks until the copy is complete. Raises OSError
    when the target takes no copy, and sqlite3.Error when the source is unreadable or the copy is damaged.
    """
    target.touch(mode=0o600)
    address = f"{source.absolute().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(address, uri=True, timeout=PRODUCTION.sqlite_busy_seconds)) as origin,
        closing(sqlite3.connect(target)) as copy,
    ):
        # In one step, because a copy in pieces starts over after every write and may never end.
        origin.backup(copy)
        found = copy.execute("PRAGMA integrity_check").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(f"the copy is damaged: {found}")
