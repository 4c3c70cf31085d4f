"""Messages to systemd over its socket (sd_notify(3)), and priorities in its journal; without systemd there are none.

systemd's variables NOTIFY_SOCKET and JOURNAL_STREAM are no settings of ours, so this module reads them.
"""

import os
import socket
from typing import Final, TextIO

from loguru import logger

_SOCKET: Final = "NOTIFY_SOCKET"
_BY_LEVEL: Final = ((50, 2), (40, 3), (30, 4), (20, 6), (0, 7))
"""From a level's number in Python's logging to syslog's: critical, error, warning, info, debug."""


class Notifier:
    """The socket of the service manager that started this process, if one did."""

    def __init__(self) -> None:
        address = os.environ.get(_SOCKET, "")
        # A name with @ in front is abstract; the kernel writes a NUL there.
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def tell(self, *assignments: str) -> None:
        """Send systemd assignments such as `READY=1`, `STATUS=...`, `WATCHDOG=1`; ignore a systemd that is gone."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as channel:
            try:
                channel.sendto("\n".join(assignments).encode(), self._address)
            except OSError as error:
                logger.debug("systemd does not listen: {}", error)


def is_journal(stream: TextIO) -> bool:
    """Tell whether the log's stream leads to systemd's journal (systemd.exec(5), JOURNAL_STREAM)."""
    named = os.environ.get("JOURNAL_STREAM", "")
    if not named:
        return False
    try:
        status = os.fstat(stream.fileno())
    except OSError:  # a stream of no file, as in a test
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def prioritised(text: str, level_number: int) -> str:
    """Put a level's priority before each line of the log.

    Each line needs its own, because each is an entry of its own in systemd's journal.
    """
    priority = next(priority for level, priority in _BY_LEVEL if level_number >= level)
    return "\n".join(f"<{priority}>{line}" for line in text.splitlines())
