"""Priorities in systemd's journal: a line says its own by a number in angle brackets before it (sd-daemon(3)).

The variable is systemd's and no setting of ours, so it is read here.
"""

import os
from typing import Final, TextIO

_BY_LEVEL: Final = ((50, 2), (40, 3), (30, 4), (20, 6), (0, 7))
"""From a level's number in Python's logging to syslog's: critical, error, warning, info, debug."""


def is_journal(stream: TextIO) -> bool:
    """Tell whether systemd's journal is at the other end (systemd.exec(5), JOURNAL_STREAM)."""
    named = os.environ.get("JOURNAL_STREAM", "")
    if not named:
        return False
    try:
        status = os.fstat(stream.fileno())
    except OSError:  # a stream of no file, as in a test
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def prioritised(text: str, level_number: int) -> str:
    """Put a level's priority before each line: each is an entry of its own in the journal."""
    priority = next(priority for level, priority in _BY_LEVEL if level_number >= level)
    return "\n".join(f"<{priority}>{line}" for line in text.splitlines())
