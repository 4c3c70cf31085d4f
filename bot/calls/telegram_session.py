"""Production's session of calls to Telegram: bounded, with proxy and authorities, without secrets in its errors."""

import sys
from typing import Any, Final

from aiogram import Bot, __version__
from aiogram.exceptions import TelegramNetworkError
from aiogram.methods import TelegramMethod
from aiogram.methods.base import TelegramType
from aiohttp import ClientSession, TraceConfig
from aiohttp.hdrs import USER_AGENT
from aiohttp.http import SERVER_SOFTWARE

from bot.calls.bounded_session import BoundedSession
from bot.calls.network import open_session
from bot.monitoring.logs import Hide
from bot.settings.proxies import Proxy

CONNECTIONS_MAX: Final = 200
"""The outbox keeps up to a hundred calls under way (bot/sending/outbox.py); if all of them hang, a hundred connections
are left for the poll, for buyers and for refunds."""


class TelegramSession(BoundedSession):
    """The bounded session with a proxy and authorities of our own; `hide` takes secrets out of errors."""

    def __init__(self, way: Proxy | None, hide: Hide, **kwargs: Any) -> None:
        """Make the session; `way` is the proxy, and `kwargs` go to aiogram."""
        super().__init__(**kwargs)
        self._way = way
        self._hide = hide
        self.traces: list[TraceConfig] = []

    async def create_session(self) -> ClientSession:
        """Return the open aiohttp session; open one if there is none."""
        if self._session is None or self._session.closed:
            self._session = open_session(
                self._way,
                limit=CONNECTIONS_MAX,
                headers={USER_AGENT: f"{SERVER_SOFTWARE} aiogram/{__version__}"},
                trace_configs=self.traces,
            )
            self._should_reset_connector = False
        return self._session

    async def make_request(
        self,
        bot: Bot,
        method: TelegramMethod[TelegramType],
        timeout: int | None = None,  # noqa: ASYNC109 - aiogram's own signature
    ) -> TelegramType:
        """Make one call to Telegram. Raises aiogram's errors alone, without secrets in them."""
        try:
            return await super().make_request(bot, method, timeout)
        except TelegramNetworkError as error:
            # aiohttp quotes the address with the token, and the proxy's with its password.
            # The error of a too large request (413) has a class of its own.
            raise type(error)(method=method, message=self._hide(error.message)) from None
        except Exception as error:
            if not _is_of_the_way(error):
                raise
            said = self._hide(f"{type(error).__name__}: {error}")
            raise TelegramNetworkError(method=method, message=said) from None


def _is_of_the_way(error: Exception) -> bool:
    """Tell whether an error comes from the SOCKS connector or from a socket, and not from aiohttp."""
    # Loaded only when such a proxy is in use, because the import takes time.
    socks = sys.modules.get("aiohttp_socks")
    return isinstance(error, OSError) or (socks is not None and isinstance(error, socks.ProxyError))
