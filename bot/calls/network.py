"""The network of the calls: the proxy to an address, the trusted certificate authorities, and aiohttp sessions."""

import ipaddress
import os
import ssl
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import certifi
from loguru import logger

from bot.calls.keepalive import make_socket
from bot.settings import Settings, SettingsError
from bot.settings.proxies import Proxy, is_loopback, proxy_of_environment, read_proxy

_CERT_FILE: Final = "SSL_CERT_FILE"
_CERT_DIRECTORY: Final = "SSL_CERT_DIR"
_PRIVATE_ENDINGS: Final = (".local", ".internal", ".lan", ".home.arpa", ".localdomain")
"""Endings of names that no public server has (RFC 6762, RFC 8375, and names that ICANN reserves)."""


def proxy_to_telegram(settings: Settings) -> Proxy | None:
    """Return the proxy for calls to Telegram: TELEGRAM_PROXY, else the environment's, else None.

    Raises SettingsError for a malformed one.
    """
    if settings.telegram_proxy is not None:
        return read_proxy("TELEGRAM_PROXY", settings.telegram_proxy.get_secret_value())
    return proxy_to(settings.telegram_api_url)


def proxy_to(url: str) -> Proxy | None:
    """Return the environment's proxy for calls to an address, or None. Raises SettingsError."""
    try:
        return proxy_of_environment(url)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def is_exposed(url: str) -> bool:
    """Tell whether calls to an address carry the token across other people's networks without TLS."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "http" or is_loopback(host):
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # One word is the name of a host on a private network, such as a container.
        return "." in host and not host.endswith(_PRIVATE_ENDINGS)
    return not (address.is_private or address.is_link_local)


def in_the_clear(settings: Settings) -> str | None:
    """Return a warning if others on the network can read the token on its way, else None."""
    if not is_exposed(settings.telegram_api_url):
        return None
    return f"everybody on the way can read the token: TELEGRAM_API_URL is {settings.telegram_api_url}, without TLS"


def say_way(settings: Settings) -> None:
    """Log the proxy for calls to Telegram, and a warning if others on the network can read the token."""
    proxy = proxy_to_telegram(settings)
    if proxy is not None:
        logger.info("calls to Telegram go through {}", proxy)
    exposed = in_the_clear(settings)
    if exposed is not None:
        logger.warning(exposed)


def trusted() -> ssl.SSLContext:
    """Make the TLS context that trusts OpenSSL's authorities: those of SSL_CERT_FILE and SSL_CERT_DIR, where set.

    Without either it trusts Mozilla's list as well as the machine's own, which may be missing. Raises SettingsError
    for a file without a certificate.
    """
    context = ssl.create_default_context()
    file = os.environ.get(_CERT_FILE)
    if not file and not os.environ.get(_CERT_DIRECTORY):
        context.load_verify_locations(cafile=certifi.where())
    elif file:
        # OpenSSL skips an unreadable file in silence.
        try:
            context.load_verify_locations(cafile=file)
        except (OSError, ssl.SSLError):
            raise SettingsError(f"{_CERT_FILE} is wrong: it takes the path of a file with certificates, PEM") from None
    return context


def open_session(proxy: Proxy | None, *, limit: int = 100, **more: Any) -> aiohttp.ClientSession:
    """Open an aiohttp session, through a proxy or (None) without one; the caller closes it.

    Raises SettingsError for unreadable authorities.
    """
    # A server's address may change while the process lives, and a look-up at each call would be slow.
    of_connector: dict[str, Any] = {"ssl": trusted(), "limit": limit, "ttl_dns_cache": 3600}
    if proxy is None or proxy.scheme != "socks5":
        plain = aiohttp.TCPConnector(**of_connector, socket_factory=make_socket)
        return aiohttp.ClientSession(connector=plain, proxy=None if proxy is None else proxy.address, **more)
    from aiohttp_socks import ProxyType  # noqa: PLC0415 - SOCKS alone, its import takes time

    from bot.calls.socks import KeptConnector  # noqa: PLC0415 - SOCKS alone, its import takes time

    connector = KeptConnector(
        host=proxy.host,
        port=proxy.port,
        proxy_type=ProxyType.SOCKS5,
        username=proxy.user,
        password=proxy.password,
        rdns=True,
        ssl=of_connector["ssl"],
        limit=limit,
    )
    return aiohttp.ClientSession(connector=connector, **more)
