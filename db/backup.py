"""A copy of a SQLite database while it is in use, by SQLite's own online backup (sqlite.org/backup.html)."""

import sqlite3
from contextlib import closing
from pathlib import Path

from db.engine import SQLITE_BUSY_MILLISECONDS


def copy_sqlite(source: Path, target: Path) -> None:
    """Write what `source` holds now into `target`, readable by its owner alone, and check the copy.

    Writers are not held up: in WAL mode a reader sees one moment. Blocks until it is done. Raises OSError when the copy
    cannot be written, and sqlite3.Error when the source cannot be read or the copy is not whole.
    """
    target.touch(mode=0o600)
    address = f"{source.absolute().as_uri()}?mode=ro"
    seconds = SQLITE_BUSY_MILLISECONDS / 1000
    with (
        closing(sqlite3.connect(address, uri=True, timeout=seconds)) as origin,
        closing(sqlite3.connect(target)) as copy,
    ):
        # In one step: a copy in pieces begins anew whenever somebody writes, which may never end.
        origin.backup(copy)
        found = copy.execute("PRAGMA integrity_check").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(f"the copy is not whole: {found}")
