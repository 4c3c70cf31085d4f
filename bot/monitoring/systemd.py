"""Messages to systemd over its socket (sd_notify(3)); without systemd the desk sends none.

systemd's variable NOTIFY_SOCKET is no setting of ours, so this module reads it.
"""

import os
import socket
from typing import Final

from loguru import logger

_SOCKET: Final = "NOTIFY_SOCKET"


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
