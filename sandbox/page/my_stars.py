"""The sheet of a person's own Stars: the balance, and the subscriptions with their buttons."""

from collections.abc import Awaitable, Callable

from nicegui import ui

from sandbox.client import SandboxClient
from sandbox.page.elements import box, button, day, line, stars
from sandbox.page.speaker import Speaker
from sandbox.page.veil import Veil
from sandbox.remote.transport import SandboxError
from sandbox.subscriptions import Subscription, SubscriptionState

TOP_UP_STARS = 1_000
_TOLD = {
    SubscriptionState.ACTIVE: "Renews on",
    SubscriptionState.CANCELED: "Cancelled, lasts until",
    SubscriptionState.FAILED: "The renewal failed on",
    SubscriptionState.ENDED: "Ended on",
}


class MyStars(Veil):
    """The sheet behind a person's balance."""

    def __init__(
        self, client: SandboxClient, speaker: Speaker, cover: ui.element, toast: Callable[[str], None]
    ) -> None:
        super().__init__(cover)
        self._client = client
        self._speaker = speaker
        self._toast = toast

    async def show(self) -> None:
        """Open the sheet of a person's Stars, or refresh it."""
        person = await self._client.person(self._speaker.user_id)
        subscriptions = await self._client.subscriptions(person.id)

        async def top_up() -> None:
            await self._client.set_balance(person.id, person.balance_stars + TOP_UP_STARS)

        with self.opened("My Stars"):
            line("My Stars", "sheet-title")
            stars(person.balance_stars, "price")
            self._add(f"Get {TOP_UP_STARS:,} Stars", top_up)
            line("My subscriptions" if subscriptions else "No subscriptions yet", "muted")
            for subscription in reversed(subscriptions):
                self._show(subscription)

    def _show(self, subscription: Subscription) -> None:
        with box("owned"):
            with box("entry-head"):
                line(subscription.invoice.title, "grow card-title")
                stars(subscription.invoice.total_amount)
            line(f"{_TOLD[subscription.state]} {day(subscription.ends_at)}", "muted")
            match subscription.state:
                case SubscriptionState.ACTIVE:
                    self._add("Cancel subscription", lambda: self._client.cancel_subscription(subscription.id))
                case SubscriptionState.FAILED:
                    self._add("Try again to renew", lambda: self._client.renew(subscription.id))
                case SubscriptionState.CANCELED if not subscription.canceled_by_bot:
                    self._add("Take up again", lambda: self._client.take_up_again(subscription.id))

    def _add(self, told: str, action: Callable[[], Awaitable[object]]) -> None:
        async def act() -> None:
            try:
                await action()
            except SandboxError as refusal:
                self._toast(str(refusal))
            await self.show()

        button(told, act, "button soft")
