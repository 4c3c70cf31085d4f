"""Programs between the desk and its PostgreSQL: a NAT that forgets connections, and a proxy with TLS."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from db.address import PostgresAddress, parse_database_url

_SSL_REQUEST: Final = bytes.fromhex("0000000804d2162f")
_OPENSSL: Final = shutil.which("openssl") or "openssl"
_CHUNK: Final = 65_536


@dataclass
class Way:
    """A TCP port of this machine that leads to a PostgreSQL."""

    port: int = 0
    _open: list["_Pipe"] = field(default_factory=list)

    def url(self, database_url: str, query: str = "", host: str = "127.0.0.1") -> str:
        """Return the `DATABASE_URL` that leads this way."""
        address = parse_database_url(database_url)
        assert isinstance(address, PostgresAddress)
        return f"postgresql://{address.user}@{host}:{self.port}/{address.database}?{query}"

    def forget(self) -> None:
        """Forget what is connected, as a NAT does: nobody is told, and nothing comes through any more."""
        for pipe in self._open:
            pipe.is_forgotten = True

    @property
    def connections(self) -> int:
        """How many are connected and not forgotten."""
        return sum(not pipe.is_forgotten for pipe in self._open)


@dataclass
class _Pipe:
    is_forgotten: bool = False

    async def carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(_CHUNK):
                if not self.is_forgotten:
                    target.write(data)
                    await target.drain()
        if not self.is_forgotten:
            target.close()


@asynccontextmanager
async def way_to(database_url: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Way]:
    """Lead from a port of this machine to the PostgreSQL of `database_url`, over TLS if there is a context."""
    address = parse_database_url(database_url)
    assert isinstance(address, PostgresAddress)
    [server] = address.servers
    way = Way()
    under_way: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if tls is not None:
            assert await reader.readexactly(len(_SSL_REQUEST)) == _SSL_REQUEST
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(tls)
        from_server, to_server = await asyncio.open_unix_connection(f"{server.host}/.s.PGSQL.{server.port}")
        pipe = _Pipe()
        way._open.append(pipe)
        try:
            await asyncio.gather(pipe.carry(reader, to_server), pipe.carry(from_server, writer))
        finally:
            way._open.remove(pipe)
            await _close(to_server)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await serve(reader, writer)
        await _close(writer)
        under_way.discard(task)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    way.port = listener.sockets[0].getsockname()[1]
    try:
        yield way
    finally:
        listener.close()
        for task in list(under_way):
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    # One whose TLS was broken off never says that it is closed.
    with suppress(OSError):
        async with asyncio.timeout(1):
            await writer.wait_closed()


@dataclass(frozen=True)
class Authority:
    """One who signs certificates, for a test: its own, and one for `localhost`."""

    certificate: Path
    server: ssl.SSLContext


def authority(directory: Path, name: str) -> Authority:
    """Make an authority with openssl; its server is called `localhost` alone."""
    own, key, server, asked = (directory / f"{name}{end}" for end in (".pem", ".key", "-server.pem", "-server.csr"))

    def openssl(*arguments: str) -> None:
        subprocess.run([_OPENSSL, *arguments], check=True, capture_output=True)  # noqa: S603 - arguments of ours

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *new, "-keyout", str(key), "-out", str(own), "-days", "2", "-subj", f"/CN={name}")
    server_key = str(directory / f"{name}-server.key")
    openssl("req", *new, "-keyout", server_key, "-out", str(asked), "-subj", "/CN=localhost")
    openssl(
        *("x509", "-req", "-in", str(asked), "-CA", str(own), "-CAkey", str(key), "-CAcreateserial"),
        *("-out", str(server), "-days", "2"),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server, server_key)
    return Authority(own, context)
