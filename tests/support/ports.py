"""A free port for a server that is told its port, and the wait until the server listens there."""

import asyncio
import socket
from asyncio.subprocess import Process
from collections.abc import Callable

from tests.support.waiting import until


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def until_listening(process: Process, port: int, why_ended: Callable[[], str]) -> None:
    """Wait until a server's process listens on a port; fail with `why_ended` when the process ends before."""

    async def listens() -> bool:
        assert process.returncode is None, why_ended()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    await until(listens)
