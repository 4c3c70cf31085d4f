"""Connections that notice when nobody is at their other end any more.

A NAT or a load balancer that forgets a quiet connection tells neither end of it: a poll would wait out its whole time
for an answer that cannot come, and a pre-checkout behind it with it.
"""

import socket
from typing import Any, Final

IDLE_SECONDS: Final = 10
"""So long a connection is quiet before its other end is asked; few forget one that was used so lately."""
INTERVAL_SECONDS: Final = 5
COUNT: Final = 2
"""After so many questions without an answer the connection is over: twenty seconds, half of what a poll may take."""

_OPTIONS: Final = (
    ("TCP_KEEPIDLE", IDLE_SECONDS),
    ("TCP_KEEPALIVE", IDLE_SECONDS),
    ("TCP_KEEPINTVL", INTERVAL_SECONDS),
    ("TCP_KEEPCNT", COUNT),
    # Of what was sent and never taken, in milliseconds; otherwise it is sent again for a quarter of an hour.
    ("TCP_USER_TIMEOUT", 1_000 * (IDLE_SECONDS + COUNT * INTERVAL_SECONDS)),
)
"""By the names that systems have for them (tcp(7)); none has all."""


def keep_alive(connection: Any) -> None:
    """Have a TCP socket ask whether its other end is there while it is quiet."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS:
        option = getattr(socket, name, None)
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def make_socket(address: Any) -> socket.socket:
    """Make a socket for an address as getaddrinfo gives it: aiohttp's socket_factory."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    keep_alive(made)
    return made
