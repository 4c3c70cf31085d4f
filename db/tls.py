"""TLS to PostgreSQL, with libpq's meaning of each sslmode (PostgreSQL's manual, "SSL Support")."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from db.address.parameters import SYSTEM, Tls
from db.errors import UnfitServerError

_CHECKED: Final = frozenset({"verify-ca", "verify-full"})
_ALPN: Final = "postgresql"
# OpenSSL's numbers (x509_vfy.h) of errors that end with time, by a clock or a new certificate of the same authority.
_NOT_YET_VALID, _EXPIRED = 9, 10


def tls_setting(tls: Tls) -> ssl.SSLContext | str | bool:
    """Return asyncpg's `ssl` argument for PostgreSQL: a TLS context, or the name of a mode.

    Raises UnfitServerError when OpenSSL cannot use a file that the address names.
    """
    if tls.mode == "disable":
        return False
    if not tls.is_wanted and tls.cert is None:
        return tls.mode
    return _context(tls)


def explain_tls_error(error: ssl.SSLError) -> tuple[str, bool]:
    """Return a server's TLS error in words, and whether only another setting mends it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message or str(error)
        if error.verify_code in {_NOT_YET_VALID, _EXPIRED}:
            return f"its certificate is not valid at this time ({said})", False
        return (
            f"its certificate is not trusted ({said}): name its authority's certificate with sslrootcert=FILE",
            True,
        )
    return f"TLS failed ({error.reason or type(error).__name__})", False


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = tls.mode == "verify-full"
    if tls.mode not in _CHECKED:
        context.verify_mode = ssl.CERT_NONE
    _load_authorities(context, tls)
    if tls.cert is not None:
        with _naming_parameter("sslcert or sslkey"):
            # Without a password OpenSSL asks the terminal, and the desk would wait for an answer.
            context.load_cert_chain(tls.cert, tls.key, password=lambda: tls.key_password or "")
    context.minimum_version = _version(tls.version_min)
    if tls.version_max is not None:
        context.maximum_version = _version(tls.version_max)
    context.set_alpn_protocols([_ALPN])
    return context


def _load_authorities(context: ssl.SSLContext, tls: Tls) -> None:
    root = tls.root_cert
    if root == SYSTEM:
        context.load_default_certs()
    elif root is not None:
        with _naming_parameter("sslrootcert"):
            context.load_verify_locations(cafile=root)
    elif tls.mode in _CHECKED:
        # libpq's default file. If it does not exist, a setting is missing.
        usual = Path("~/.postgresql/root.crt").expanduser()
        if not usual.exists():
            raise UnfitServerError(
                f"sslmode={tls.mode} in DATABASE_URL needs a certificate authority: add sslrootcert=FILE,"
                " or sslrootcert=system with verify-full"
            )
        with _naming_parameter("sslmode"):
            context.load_verify_locations(cafile=str(usual))
    if tls.crl is not None:
        with _naming_parameter("sslcrl"):
            context.load_verify_locations(cafile=tls.crl)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


@contextmanager
def _naming_parameter(parameter: str) -> Iterator[None]:
    """Raise UnfitServerError for a TLS file that OpenSSL cannot use, and name the parameter of the address."""
    try:
        yield
    except (OSError, ValueError) as error:
        said = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise UnfitServerError(f"a file that {parameter} in DATABASE_URL names cannot be used: {said}") from error


def _version(name: str) -> ssl.TLSVersion:
    return ssl.TLSVersion[name.replace(".", "_")]
