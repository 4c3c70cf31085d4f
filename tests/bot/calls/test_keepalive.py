"""Keepalives on every outgoing connection: a direct one, and one through each kind of proxy."""

import socket

import pytest
from aiohttp import ClientSession

from bot.calls.keepalive import COUNT, IDLE_SECONDS, INTERVAL_SECONDS
from bot.calls.network import open_session
from bot.settings.proxies import read_proxy
from sandbox.server import running_sandbox
from tests.support.socks import running_socks


async def _options(session: ClientSession, url: str) -> list[int]:
    async with session, session.get(f"{url}/control/nothing") as response:
        await response.read()
        connector = session.connector
        assert connector is not None
        # The connection is kept for the next call.
        [[(protocol, _)]] = connector._conns.values()
        assert protocol.transport is not None
        used = protocol.transport.get_extra_info("socket")
        names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        asked = [used.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]
        return [used.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *asked]


@pytest.mark.parametrize("way", ["straight", "http", "socks5"])
async def test_a_quiet_connection_is_asked_for(way: str) -> None:
    async with running_sandbox() as server:
        port = int(server.url.rpartition(":")[2])
        async with running_socks(port, "desk", "word") as socks:
            # To the sandbox an HTTP proxy is a server that is asked for a whole address.
            ways = {"http": server.url, "socks5": f"socks5://desk:word@127.0.0.1:{socks.port}"}
            proxy = read_proxy("TELEGRAM_PROXY", ways[way]) if way in ways else None
            # A SOCKS proxy is given names.
            url = f"http://telegram.invalid:{port}" if way == "socks5" else server.url
            options = await _options(open_session(proxy), url)
    patience_ms = 1_000 * (IDLE_SECONDS + COUNT * INTERVAL_SECONDS)
    assert options == [1, IDLE_SECONDS, INTERVAL_SECONDS, COUNT, patience_ms]
