"""Connections through a SOCKS proxy, with keepalives; loaded only for such a proxy, because the import takes time."""

import asyncio
from ssl import SSLContext

from aiohttp.client_proto import ResponseHandler
from aiohttp_socks import ProxyConnector

from bot.calls.keepalive import keep_alive


class KeptConnector(ProxyConnector):
    """aiohttp-socks' connector, which has no socket_factory, with the options of bot/calls/keepalive.py."""

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
