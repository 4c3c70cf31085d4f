"""A SOCKS5 proxy that asks for a user and a password (RFC 1928, RFC 1929)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

_VERSION: Final = 5
_WITH_PASSWORD: Final = 2
_NAME: Final = 3


@dataclass
class Socks:
    """One that leads every name to one port of this machine, and the names that it was asked for."""

    target_port: int
    user: str
    password: str
    port: int = 0
    asked: list[str] = field(default_factory=list)
    refused: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            if await self._opened(reader, writer):
                target = await asyncio.open_connection("127.0.0.1", self.target_port)
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pass_on(reader, target[1]))
                    both.create_task(_pass_on(target[0], writer))
        writer.close()

    async def _opened(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        methods = (await reader.readexactly(2))[1]
        await reader.readexactly(methods)
        writer.write(bytes([_VERSION, _WITH_PASSWORD]))
        said = []
        await reader.readexactly(1)
        for _ in range(2):
            length = (await reader.readexactly(1))[0]
            said.append((await reader.readexactly(length)).decode())
        is_known = said == [self.user, self.password]
        writer.write(bytes([1, 0 if is_known else 1]))
        if not is_known:
            self.refused += 1
            await writer.drain()
            return False
        kind = (await reader.readexactly(4))[3]
        assert kind == _NAME, "the proxy is given the name: where Telegram is blocked its name is, too"
        length = (await reader.readexactly(1))[0]
        self.asked.append((await reader.readexactly(length)).decode())
        await reader.readexactly(2)
        writer.write(bytes([_VERSION, 0, 0, 1, 0, 0, 0, 0, 0, 0]))
        return True


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def running_socks(target_port: int, user: str, password: str) -> AsyncIterator[Socks]:
    """Run one beside the block."""
    socks = Socks(target_port, user, password)
    server = await asyncio.start_server(socks.serve, "127.0.0.1", 0)
    socks.port = server.sockets[0].getsockname()[1]
    try:
        yield socks
    finally:
        server.close()
