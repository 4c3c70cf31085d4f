"""What systemd is told over its socket (sd_notify(3)); without systemd: nothing.

The variable that it sets is no setting of ours, so it is read here.
"""

import os
import socket
from typing import Final

from loguru import logger

_SOCKET: Final = "NOTIFY_SOCKET"


class Notifier:
    """The way to the service manager that started this process, if one did."""

    def __init__(self) -> None:
        address = os.environ.get(_SOCKET, "")
        # A name that begins with @ is of the abstract kind, which the kernel writes with a NUL.
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def tell(self, *assignments: str) -> None:
        """Send such as `READY=1`, `STATUS=...`, `WATCHDOG=1`; a service manager that is gone is no error."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as channel:
            try:
                channel.sendto("\n".join(assignments).encode(), self._address)
            except OSError as error:
                logger.debug("systemd does not listen: {}", error)
