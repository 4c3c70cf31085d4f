"""The payment channels that the settings open, each with the loop that watches its provider.

The module imports a provider's package only if its setting is there, because the import makes every start slower.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiogram import Bot

from bot.calls.network import open_session, proxy_to
from bot.settings import Settings
from db.clock import Clock
from db.engine import Database
from db.timings import Timings
from payments.channel import Channel, Channels, Watch, by_name
from payments.notices import Admins
from payments.sale.catalog import Catalog
from payments.sale.payload import PayloadSigner
from payments.stars import StarsChannel


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The parts of a desk for a channel's loop, which calls `wake` when it has recorded something to settle or tell."""

    database: Database
    catalog: Catalog
    signer: PayloadSigner
    clock: Clock
    admins: Admins
    timings: Timings
    wake: Callable[[], None]


MakeWatch = Callable[[Surroundings], Watch]
"""Makes the loop that watches a provider."""


@dataclass(frozen=True, slots=True)
class OpenChannel:
    """A channel, and the maker of the loop that watches its provider; None: updates bring the provider's news."""

    channel: Channel
    watch: MakeWatch | None = None


class OpenChannels:
    """The open payment channels."""

    def __init__(self, channels: Sequence[OpenChannel]) -> None:
        self._channels = channels

    @property
    def by_name(self) -> Channels:
        """The open channels that send refunds, by the names of their methods."""
        return by_name(*(each.channel for each in self._channels))

    def watches(self, around: Surroundings) -> dict[str, Watch]:
        """Make the loops that watch the open channels' providers, by the names of their methods."""
        made = {each.channel.method.name: each.watch for each in self._channels}
        return {name: watch(around) for name, watch in made.items() if watch is not None}


@asynccontextmanager
async def open_channels(settings: Settings, bot: Bot) -> AsyncIterator[OpenChannels]:
    """Open the payment channels of the settings for the block. Raises SettingsError for a wrong proxy."""
    async with AsyncExitStack() as stack:
        # Telegram's updates and its ledger bring the news of Stars.
        channels = [OpenChannel(StarsChannel(bot))]
        if settings.stripe_secret_key is not None:
            channels.append(_open_cards(settings, settings.stripe_secret_key.get_secret_value(), stack))
        yield OpenChannels(channels)


def _open_cards(settings: Settings, key: str, stack: AsyncExitStack) -> OpenChannel:
    from payments.stripe.api import StripeApi  # noqa: PLC0415 - imports stripe
    from payments.stripe.cards import CardChannel  # noqa: PLC0415 - imports stripe
    from payments.stripe.lost_payments import LostPayments  # noqa: PLC0415 - imports stripe
    from payments.stripe.watch import StripeWatch  # noqa: PLC0415 - imports stripe

    api = StripeApi(key, settings.stripe_api_url, open_session(proxy_to(settings.stripe_api_url)))
    stack.push_async_callback(api.close)

    def watch(around: Surroundings) -> StripeWatch:
        lost = LostPayments(
            around.database, api, around.catalog, around.signer, around.clock, around.admins, around.wake
        )
        return StripeWatch(
            around.database, api, around.clock, around.admins, around.wake, lost, around.timings.stripe_poll_seconds
        )

    return OpenChannel(CardChannel(api), watch)
