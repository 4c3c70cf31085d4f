"""One PostgreSQL server of an address, parsed from its host and port, and the error of a false address."""

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

PORT: Final = 5432
_PORT_MAX: Final = 65_535
_HOST_LENGTH_MAX: Final = 253
_HOST: Final = re.compile(r"[\w.-]+")
_DIGITS: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
_NO_HOST: Final = "a host in it is neither a name nor an address of a machine, nor the directory of a socket"
# Unicode's controls, line breaks and lone surrogates: no server has them in a name, and they break a log.
_UNCLEAN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})


class AddressError(ValueError):
    """The desk cannot use `DATABASE_URL`; the words are our own and quote nothing of the address."""


@dataclass(frozen=True, slots=True)
class Server:
    """One PostgreSQL server: a machine and its port, or the directory of a Unix socket."""

    host: str
    """Empty: the place where PostgreSQL's own programs look for a server on this machine."""
    port: int = PORT

    @property
    def is_socket(self) -> bool:
        """True if the PostgreSQL server listens on a Unix socket of this machine, where there is no TLS."""
        return self.host.startswith("/")

    @property
    def in_address(self) -> str:
        """The PostgreSQL server as an address writes it."""
        host = f"[{self.host}]" if ":" in self.host and not self.is_socket else quote(self.host, safe="")
        return f"{host}:{self.port}" if host or self.port != PORT else ""

    def __str__(self) -> str:
        """Return the PostgreSQL server for a person: `HOST:PORT`."""
        if not self.host:
            return f"this machine:{self.port}"
        return f"[{self.host}]:{self.port}" if ":" in self.host and not self.is_socket else f"{self.host}:{self.port}"


def refuse_control_characters(text: str) -> str:
    """Return a part of an address unchanged. Raises AddressError when it has a control character.

    No name of a server, user or database can have one.
    """
    if any(unicodedata.category(character) in _UNCLEAN for character in text):
        raise AddressError("it has a control character in it")
    return text


def percent_decoded(text: str) -> str:
    """Decode a percent-encoded part of an address. Raises AddressError when the result is no text."""
    try:
        return refuse_control_characters(unquote(text, errors="strict"))
    except UnicodeDecodeError:
        raise AddressError("what is percent-encoded in it is not UTF-8") from None


def parse_server(spec: str, port: str = "", *, is_plain: bool = False) -> Server:
    """Parse a PostgreSQL server: `HOST`, `HOST:PORT`, `[IPV6]:PORT` or a directory; `port` is for a spec without one.

    `is_plain`: the spec is decoded already, and an IPv6 address may stand without brackets, as in libpq's `host=`.
    Raises AddressError.
    """
    if spec.startswith("["):
        inside, bracket, behind = spec[1:].partition("]")
        if not bracket or (behind and not behind.startswith(":")):
            raise AddressError(_NO_HOST)
        return Server(_ipv6(inside), _port(behind[1:] or port))
    if is_plain and (spec.startswith("/") or _is_ipv6(spec)):
        return Server(spec, _port(port))
    host, _, written = spec.partition(":")
    if ":" in written:
        raise AddressError("an IPv6 address in it has no brackets: write [::1]:5432")
    return Server(_host(host if is_plain else percent_decoded(host)), _port(written or port))


def _host(host: str) -> str:
    if not host or host.startswith("/"):
        return host
    try:
        # The resolver raises UnicodeError for such a name, and that would pass for an outage.
        is_name = host.isascii() or bool(host.encode("idna"))
    except UnicodeError:
        is_name = False
    labels = host.removesuffix(".").split(".")
    if (
        not is_name
        or len(host) > _HOST_LENGTH_MAX
        or _HOST.fullmatch(host) is None
        or not all(1 <= len(label) <= 63 for label in labels)  # noqa: PLR2004 - RFC 1035, size limits
    ):
        raise AddressError(_NO_HOST)
    return host


def _is_ipv6(text: str) -> bool:
    address, percent, zone = text.partition("%")
    if percent and _HOST.fullmatch(zone) is None:
        return False
    try:
        return isinstance(ipaddress.ip_address(address), ipaddress.IPv6Address)
    except ValueError:
        return False


def _ipv6(text: str) -> str:
    address = percent_decoded(text)
    if not _is_ipv6(address):
        raise AddressError(_NO_HOST)
    return address


def _port(text: str) -> int:
    if not text:
        return PORT
    if _DIGITS.fullmatch(text) is None or not 1 <= int(text) <= _PORT_MAX:
        raise AddressError("its port is not a number from 1 to 65535")
    return int(text)
