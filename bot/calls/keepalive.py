"""TCP keepalives, by which a connection to Telegram or Stripe notices that its other end is gone.

A NAT or a load balancer that forgets a quiet connection tells neither end of it. A poll would then wait its whole time
for an answer that cannot come, and a pre-checkout would wait with it.
"""

import socket
from typing import Any, Final

IDLE_SECONDS: Final = 10
"""The quiet time of a connection before its first probe; few gateways forget one that was used so lately."""
INTERVAL_SECONDS: Final = 5
COUNT: Final = 2
"""After so many probes without an answer the connection ends: twenty seconds, half of the time of a poll."""

_OPTIONS: Final = (
    ("TCP_KEEPIDLE", IDLE_SECONDS),
    ("TCP_KEEPALIVE", IDLE_SECONDS),
    ("TCP_KEEPINTVL", INTERVAL_SECONDS),
    ("TCP_KEEPCNT", COUNT),
    # For unacknowledged data, in milliseconds; without it the kernel resends for a quarter of an hour.
    ("TCP_USER_TIMEOUT", 1_000 * (IDLE_SECONDS + COUNT * INTERVAL_SECONDS)),
)
"""The options by their names on all systems (tcp(7)); no system has all of them."""


def keep_alive(connection: Any) -> None:
    """Set keepalives on a TCP socket."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS:
        option = getattr(socket, name, None)
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def make_socket(address: Any) -> socket.socket:
    """Make a socket with keepalives for an address of getaddrinfo; aiohttp calls this as its socket_factory."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    keep_alive(made)
    return made
