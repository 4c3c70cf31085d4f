"""The tab of Telegram's other side as a whole."""

from typing import TYPE_CHECKING

from sandbox.bot_process import BotProcess
from sandbox.client import SandboxClient
from sandbox.page.backstage.bot import BotCard, OwnBotCard
from sandbox.page.backstage.calls import CallsCard
from sandbox.page.backstage.clock import ClockCard
from sandbox.page.backstage.faults import FaultsCard
from sandbox.page.backstage.ledger import LedgerCard
from sandbox.page.backstage.stripe import StripeCard
from sandbox.page.backstage.subscriptions import SubscriptionsCard
from sandbox.page.backstage.updates import UpdatesCard
from sandbox.page.elements import box
from sandbox.shapes import Json

if TYPE_CHECKING:
    from sandbox.page.view import View


class Backstage:
    """All cards; they follow the sandbox while the tab is visible, and catch up when it comes back."""

    def __init__(self, client: SandboxClient, bot: BotProcess | None) -> None:
        own_bot = None
        with box("backstage", "main") as self.root:
            with box("stage-column"):
                if bot is not None:
                    BotCard(bot)
                else:
                    own_bot = OwnBotCard(client)
                clock = ClockCard(client)
                faults = FaultsCard(client)
            with box("stage-column"):
                ledger = LedgerCard(client)
                stripe = StripeCard(client)
                subscriptions = SubscriptionsCard(client)
                updates = UpdatesCard(client)
            with box("stage-column"):
                calls = CallsCard(client)
        self._cards: list[View] = [clock, faults, ledger, stripe, subscriptions, updates, calls]
        if own_bot is not None:
            self._cards.append(own_bot)
        self.root.set_visibility(False)

    async def show(self, *, visible: bool) -> None:
        """Show the tab of Telegram's other side, or hide it."""
        self.root.set_visibility(visible)
        await self.refresh()

    async def refresh(self) -> None:
        """Refresh all cards."""
        if self.root.visible:
            for card in self._cards:
                await card.refresh()

    async def update(self, events: list[Json]) -> None:
        """Update the cards that the events touch."""
        if self.root.visible:
            for card in self._cards:
                await card.update(events)
