"""The channels that the settings open.

Stripe's package is imported with its key alone: who sells for Stars only does not pay for it at each start.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiogram import Bot

from bot.settings import Settings
from db.clock import Clock
from db.engine import Database
from payments.channel import Channels, by_name
from payments.stars import StarsChannel

if TYPE_CHECKING:
    from payments.stripe.watch import StripeWatch


@dataclass(frozen=True, slots=True)
class OpenChannels:
    """The channels by which money goes back, and what makes the loop over Stripe's events (None: there is no key)."""

    by_name: Channels
    watch_stripe: "Callable[[Database, Clock, Callable[[], None]], StripeWatch] | None" = None


@asynccontextmanager
async def open_channels(settings: Settings, bot: Bot) -> AsyncIterator[OpenChannels]:
    """Open the channels for as long as the block runs."""
    stars = StarsChannel(bot)
    if settings.stripe_secret_key is None:
        yield OpenChannels(by_name(stars))
        return
    # Here, not above: these import `stripe`.
    from payments.stripe.api import StripeApi  # noqa: PLC0415
    from payments.stripe.channel import CardChannel  # noqa: PLC0415
    from payments.stripe.watch import StripeWatch  # noqa: PLC0415

    api = StripeApi(settings.stripe_secret_key.get_secret_value(), settings.stripe_api_url)

    def watch(database: Database, clock: Clock, on_recorded: Callable[[], None]) -> StripeWatch:
        return StripeWatch(database, api, clock, settings.alert_chat_ids, on_recorded)

    try:
        yield OpenChannels(by_name(stars, CardChannel(api)), watch)
    finally:
        await api.close()
