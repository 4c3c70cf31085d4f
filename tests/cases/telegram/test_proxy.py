"""A network that blocks api.telegram.org: the settings or the environment name a proxy."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.hdrs import PROXY_AUTHORIZATION

from sandbox.server import running_sandbox
from sandbox.settings import Settings
from tests.cases.telegram.front import fronting
from tests.support.daemon import TOKEN, running_daemon
from tests.support.socks import running_socks
from tests.support.waiting import until

NAMES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
BLOCKED: Final = "http://telegram.invalid:8081"
PASSWORD: Final = "to:the/proxy@alone"


async def test_the_proxy_of_the_environment_is_used(tmp_path: Path, sqlite_url: str) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server, fronting(server.url) as front:
        with running_daemon(tmp_path, BLOCKED, sqlite_url, **_all(front.url)) as daemon:
            await daemon.until_said("ready")
            await daemon.stop()
        assert "getMe" in [method for method, _ in front.log]


async def test_a_proxy_of_the_environment_is_not_asked_for_what_is_on_this_machine(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server, fronting(server.url) as front:
        with running_daemon(tmp_path, server.url, sqlite_url, **_all(front.url)) as daemon:
            await daemon.until_said("ready")
            await daemon.stop()
        assert front.log == []


async def test_the_proxy_of_the_settings_is_telegrams_alone_and_gets_its_password(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server, fronting(server.url) as front:
        said = []

        async def noted(request: web.Request) -> web.StreamResponse:
            said.append(request.headers.get(PROXY_AUTHORIZATION))
            return await front.handle(request)

        proxy = await _serving(noted)
        try:
            address = f"http://desk:to%3Athe%2Fproxy%40alone@127.0.0.1:{proxy.addresses[0][1]}"
            # The environment's proxy leads nowhere: the setting wins.
            nowhere = _all("http://127.0.0.1:1")
            with running_daemon(tmp_path, BLOCKED, sqlite_url, TELEGRAM_PROXY=address, **nowhere) as daemon:
                await daemon.until_said("ready")
                await daemon.stop()
        finally:
            await proxy.cleanup()
    assert set(said) == {"Basic ZGVzazp0bzp0aGUvcHJveHlAYWxvbmU="}
    assert PASSWORD not in daemon.said()


async def test_a_socks_proxy_with_a_password(tmp_path: Path, sqlite_url: str) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server:
        port = int(server.url.rpartition(":")[2])
        async with running_socks(port, "desk", PASSWORD) as socks:
            address = f"socks5://desk:to%3Athe%2Fproxy%40alone@127.0.0.1:{socks.port}"
            with running_daemon(tmp_path, BLOCKED, sqlite_url, TELEGRAM_PROXY=address) as daemon:
                await daemon.until_said("ready")
                await daemon.stop()
    assert set(socks.asked) == {"telegram.invalid"}
    assert PASSWORD not in daemon.said()


async def test_a_proxy_that_refuses_is_an_outage_and_its_password_stands_nowhere(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server:
        port = int(server.url.rpartition(":")[2])
        async with running_socks(port, "desk", "another") as socks:
            address = f"socks5h://desk:to%3Athe%2Fproxy%40alone@127.0.0.1:{socks.port}"
            with running_daemon(tmp_path, BLOCKED, sqlite_url, TELEGRAM_PROXY=address) as daemon:

                async def is_refused_again() -> bool:
                    return socks.refused > 1

                await until(is_refused_again)
                assert await daemon.stop() == 0
    assert "Telegram cannot be reached, trying on" in daemon.said()
    assert PASSWORD not in daemon.said()


async def test_a_wrong_proxy_of_the_environment_ends_the_start(tmp_path: Path, sqlite_url: str) -> None:
    with running_daemon(tmp_path, BLOCKED, sqlite_url, HTTP_PROXY="ftp://proxy:21") as daemon:
        assert await daemon.ended() == 78
    assert "HTTP_PROXY is wrong: it takes the address of a proxy, http://HOST:PORT" in daemon.said()


async def test_a_token_that_crosses_the_net_in_the_clear_is_warned_of(tmp_path: Path, sqlite_url: str) -> None:
    with running_daemon(tmp_path, BLOCKED, sqlite_url, TELEGRAM_PROXY="http://127.0.0.1:1") as daemon:
        await daemon.until_said("everybody on the way can read the token")
        await daemon.stop()


def _all(address: str) -> dict[str, Any]:
    return dict.fromkeys(NAMES, address)


async def _serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.AppRunner:
    runner = web.AppRunner(web.Application(), shutdown_timeout=0.1)
    runner.app.router.add_route("*", "/{tail:.*}", handler)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner
