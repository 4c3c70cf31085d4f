"""The smallest parts of an address: text that is decoded and clean, and a server."""

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
# Unicode's controls, breaks between lines, halves of a pair: no server has them in a name, and they break a log.
_UNCLEAN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})


class AddressError(ValueError):
    """What is wrong with a `DATABASE_URL`, in words of ours alone: nothing of the address is quoted."""


@dataclass(frozen=True, slots=True)
class Server:
    """One PostgreSQL: a machine and its port, or the directory of a socket."""

    host: str
    """Empty: wherever PostgreSQL's own programs look for a server on this machine."""
    port: int = PORT

    @property
    def is_socket(self) -> bool:
        """Whether it is reached over a socket of this machine's, where there is no TLS."""
        return self.host.startswith("/")

    @property
    def in_address(self) -> str:
        """As it stands in an address."""
        host = f"[{self.host}]" if ":" in self.host and not self.is_socket else quote(self.host, safe="")
        return f"{host}:{self.port}" if host or self.port != PORT else ""

    def __str__(self) -> str:
        """For a person: `HOST:PORT`."""
        if not self.host:
            return f"this machine:{self.port}"
        return f"[{self.host}]:{self.port}" if ":" in self.host and not self.is_socket else f"{self.host}:{self.port}"


def clean(text: str) -> str:
    """Return the text. Raises AddressError when a character in it can stand in no name."""
    if any(unicodedata.category(character) in _UNCLEAN for character in text):
        raise AddressError("it has a control character in it")
    return text


def decoded(text: str) -> str:
    """Return percent-encoded text as it is meant. Raises AddressError when it is no text."""
    try:
        return clean(unquote(text, errors="strict"))
    except UnicodeDecodeError:
        raise AddressError("what is percent-encoded in it is not UTF-8") from None


def server_at(spec: str, port: str = "", *, is_plain: bool = False) -> Server:
    """Read `HOST`, `HOST:PORT`, `[IPV6]:PORT` or a directory; `port` holds where none is written.

    `is_plain`: it is decoded already, and an IPv6 address may stand without brackets, as libpq has it in `host=`.
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
    return Server(_host(host if is_plain else decoded(host)), _port(written or port))


def _host(host: str) -> str:
    if not host or host.startswith("/"):
        return host
    try:
        # A name that cannot be asked for would be a UnicodeError in the resolver, which is nobody's outage.
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
    address = decoded(text)
    if not _is_ipv6(address):
        raise AddressError(_NO_HOST)
    return address


def _port(text: str) -> int:
    if not text:
        return PORT
    if _DIGITS.fullmatch(text) is None or not 1 <= int(text) <= _PORT_MAX:
        raise AddressError("its port is not a number from 1 to 65535")
    return int(text)
