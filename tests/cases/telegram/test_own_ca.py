"""A gateway that opens TLS: SSL_CERT_FILE of Python and OpenSSL names its authority."""

import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sandbox.server import running_sandbox
from sandbox.settings import Settings
from tests.cases.telegram.front import fronting
from tests.support.daemon import TOKEN, running_daemon
from tests.support.stripe_account import KEY as STRIPE_KEY
from tests.support.waiting import until


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    what = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1")
    where = ("-keyout", str(key), "-out", str(certificate), "-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run(["openssl", *what, *where], check=True, capture_output=True)  # noqa: S603, S607 - nobody else's words
    return certificate


@pytest.fixture
def gateway(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context


@pytest.mark.parametrize("is_in_file", [False, True])
async def test_the_authority_of_the_environment_is_trusted(
    tmp_path: Path, sqlite_url: str, certificate: Path, gateway: ssl.SSLContext, *, is_in_file: bool
) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server, fronting(server.url, ssl_context=gateway) as front:
        (tmp_path / ".env").write_text(f"SSL_CERT_FILE={certificate}\n")
        named: dict[str, Any] = {"SSL_CERT_FILE": "" if is_in_file else str(certificate)}
        with running_daemon(tmp_path, front.url, sqlite_url, **named) as daemon:
            await daemon.until_said("ready")
            await daemon.stop()


async def test_authority_of_the_environment_is_trusted_at_stripe(
    tmp_path: Path, sqlite_url: str, certificate: Path, gateway: ssl.SSLContext
) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server, fronting(server.url, ssl_context=gateway) as front:
        cards: dict[str, Any] = {
            "STRIPE_SECRET_KEY": STRIPE_KEY,
            "STRIPE_API_URL": front.url,
            "SSL_CERT_FILE": str(certificate),
        }
        with running_daemon(tmp_path, server.url, sqlite_url, **cards) as daemon:
            await daemon.until_said("ready")

            async def is_asked() -> bool:
                return "events" in [method for method, _ in front.log]

            await until(is_asked)
            await daemon.stop()


async def test_a_gateway_of_no_authority_is_not_spoken_to(
    tmp_path: Path, sqlite_url: str, gateway: ssl.SSLContext
) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server, fronting(server.url, ssl_context=gateway) as front:
        with running_daemon(tmp_path, front.url, sqlite_url) as daemon:
            await daemon.until_said("Telegram cannot be reached, trying on")
            await daemon.stop()
        assert front.log == []


async def test_a_file_without_a_certificate_ends_the_start(tmp_path: Path, sqlite_url: str) -> None:
    with running_daemon(tmp_path, "https://127.0.0.1:1", sqlite_url, SSL_CERT_FILE="nowhere.pem") as daemon:
        assert await daemon.ended() == 78
    assert "SSL_CERT_FILE is wrong: it takes the path of a file with certificates, PEM" in daemon.said()
