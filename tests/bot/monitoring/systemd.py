"""The service manager's side of systemd's protocol with a service."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import until


class Systemd:
    """The service manager's end of the socket."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self.heard: list[str] = []

    def listen(self) -> list[str]:
        """Return what was said since the last time."""
        new = []
        while True:
            try:
                new.append(self._channel.recv(4096).decode())
            except BlockingIOError:
                self.heard += new
                return new

    async def until_heard(self, words: str) -> None:
        async def is_heard() -> bool:
            self.listen()
            return words in self.heard

        await until(is_heard)


@contextmanager
def listening_systemd(address: Path) -> Iterator[Systemd]:
    """Listen where NOTIFY_SOCKET points."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
        channel.bind(str(address))
        yield Systemd(channel)
