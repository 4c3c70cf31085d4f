"""The page's card of subscriptions, with buttons for renewal, failure, cancelling and resuming."""

from dataclasses import dataclass

from sandbox.client import SandboxClient
from sandbox.page.backstage.cards import card, list_of_newest, refusals_told
from sandbox.page.elements import box, button, clock_time, day, line, stars
from sandbox.page.keyed_rows import KeyedRows
from sandbox.shapes import Json
from sandbox.subscriptions import Subscription, SubscriptionState


@dataclass(frozen=True, slots=True)
class _Row:
    subscription: Subscription
    owner: str


class SubscriptionsCard:
    """The card of all subscriptions."""

    def __init__(self, client: SandboxClient) -> None:
        self._client = client
        with card("Subscriptions"):
            self._nobody = line("Nobody has one yet.", "muted")
            self._rows = KeyedRows[str, _Row](list_of_newest(), self._build)

    async def refresh(self) -> None:
        """Refresh the subscriptions' card."""
        names = {person.id: person.first_name for person in await self._client.persons()}
        found = await self._client.subscriptions()
        self._nobody.set_visibility(not found)
        self._rows.show({one.id: _Row(one, names[one.user_id]) for one in found})

    async def update(self, events: list[Json]) -> None:
        """Update the subscriptions' card when one has changed."""
        if any(event["topic"] == "subscription" for event in events):
            await self.refresh()

    def _build(self, row: _Row) -> None:
        subscription, client = row.subscription, self._client
        ends = subscription.ends_at
        actions = {
            "Renew now": lambda: client.renew(subscription.id),
            "Fail next renewal": lambda: client.fail_renewals(subscription.id),
            "Cancel": lambda: client.cancel_subscription(subscription.id),
            "Take up again": lambda: client.take_up_again(subscription.id),
        }
        if subscription.state is SubscriptionState.ENDED:
            actions = {}
        elif subscription.state is SubscriptionState.CANCELED:
            actions = {"Take up again": actions["Take up again"]}
        else:
            del actions["Take up again"]
        with box("subscription"):
            with box("entry-head"):
                line(f"{row.owner}: {subscription.invoice.title}", "grow")
                stars(subscription.invoice.total_amount)
            with box("entry-head muted"):
                line(subscription.state, f"badge state-{subscription.state}")
                line(f"until {day(ends)}, {clock_time(ends)}", "grow")
                if subscription.renewals_to_fail:
                    line("next renewal fails")
            with box("buttons"):
                for told, action in actions.items():
                    button(told, refusals_told(action), "button soft")
