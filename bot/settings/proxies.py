"""The proxies that settings and environment name, HTTPS_PROXY and its like among them.

Calls to this very machine never go through a proxy of the environment.
"""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urlsplit

PROXY_FORMS: Final = (
    "the address of a proxy, http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT, with USER:PASSWORD@ before HOST"
)
_SOCKS: Final = frozenset({"socks", "socks5", "socks5h"})
"""Names of one thing: a SOCKS proxy of version 5, which resolves the names of hosts itself."""
_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080}
_PROXIES: Final = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
_NO_PROXY: Final = "NO_PROXY"
_CREDENTIAL_BYTES_MAX: Final = 255
"""The longest user's name and the longest password (RFC 1929)."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and the variable that names it. Its text leaves the password out."""

    named_by: str
    scheme: str
    host: str
    port: int
    user: str | None = None
    password: str | None = None

    def __str__(self) -> str:
        """Return the proxy's place and variable, without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port} ({self.named_by})"

    def __repr__(self) -> str:
        """Return the same text as `__str__`.

        A dataclass's own text would not do, because a traceback must not show the password.
        """
        return str(self)

    @property
    def address(self) -> str:
        """The proxy's whole address, with user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        who = "" if self.user is None else f"{quote(self.user, safe='')}:{quote(self.password or '', safe='')}@"
        return f"{self.scheme}://{who}{host}:{self.port}"


def read_proxy(named_by: str, value: str) -> Proxy:
    """Read a proxy's address. Raises ValueError for text that is no such address."""
    # Every program takes an address without a scheme for an HTTP proxy.
    parts = urlsplit(value if "://" in value else f"http://{value}")
    scheme = "socks5" if parts.scheme in _SOCKS else parts.scheme
    if scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    # aiohttp sends both to a proxy in Latin-1; a character beyond it raises UnicodeEncodeError, which is a ValueError.
    if any(len(each.encode("latin-1")) > _CREDENTIAL_BYTES_MAX for each in (user, password) if each is not None):
        raise ValueError
    return Proxy(named_by, scheme, parts.hostname, parts.port or _PORTS[scheme], user, password)


def proxy_of_environment(url: str, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """Return the proxy that the environment names for an address; None: no proxy, or NO_PROXY names the address.

    The lower case of a name wins over the upper case, as in other programs. Raises ValueError in words.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or _PORTS.get(parts.scheme, 0)
    if is_loopback(host) or _is_excepted(host, port, _variable(environment, _NO_PROXY)):
        return None
    for name in (f"{parts.scheme.upper()}_PROXY", "ALL_PROXY"):
        value = _variable(environment, name)
        if value:
            try:
                return read_proxy(name, value)
            except ValueError:
                raise ValueError(f"{name} is wrong: it takes {PROXY_FORMS}") from None
    return None


def passwords_of_environment(environment: Mapping[str, str] = os.environ) -> frozenset[str]:
    """Return the passwords of the environment's proxies.

    The log needs to know them, because they must stand in none of its lines.
    """
    found = set()
    for name in _PROXIES:
        try:
            password = read_proxy(name, _variable(environment, name)).password
        except ValueError:
            continue
        if password:
            found.add(password)
    return frozenset(found)


def is_loopback(host: str) -> bool:
    """Tell whether a proxy's host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _variable(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name.lower()) or environment.get(name) or ""


def _is_excepted(host: str, port: int, exceptions: str) -> bool:
    """Tell whether NO_PROXY names a host, by its name, a domain above it, its address or a network around that."""
    return any(_fits(host.lower(), port, each.strip().lower()) for each in exceptions.split(",") if each.strip())


def _fits(host: str, port: int, exception: str) -> bool:
    if exception == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(exception, strict=False)
    except ValueError:
        name, _, only_port = exception.partition(":")
        domain = name.removeprefix("*").removeprefix(".")
        is_of_it = host == domain or host.endswith(f".{domain}")
        return is_of_it and (not only_port or only_port == str(port))
