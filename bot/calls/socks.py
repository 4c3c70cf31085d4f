"""Connections through a SOCKS proxy. Loaded where one is in use, because the import takes time."""

import asyncio
from ssl import SSLContext

from aiohttp.client_proto import ResponseHandler
from aiohttp_socks import ProxyConnector

from bot.calls.keepalive import keep_alive


class KeptConnector(ProxyConnector):
    """The connector of aiohttp-socks, which takes no socket_factory, with what bot/calls/keepalive.py asks for."""

    async def _connect_via_proxy(
        self,
        host: str,
        port: int,
        ssl: SSLContext | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of aiohttp-socks
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        transport, protocol = await super()._connect_via_proxy(host, port, ssl, timeout)
        keep_alive(transport.get_extra_info("socket"))
        return transport, protocol
