"""Views of the sandbox's world: reads of the control API, for the page or a test."""

from dataclasses import dataclass

from sandbox.calls import Call
from sandbox.charges import Charge
from sandbox.checkout import Payment
from sandbox.faults import Fault, UpdateFault
from sandbox.invoices import Offer
from sandbox.messages import ChatMessage
from sandbox.people import Group, Person
from sandbox.settings import Switches
from sandbox.shapes import Json
from sandbox.updates import UpdateRecord
from sandbox.world import World


@dataclass(frozen=True, slots=True)
class About:
    """The bot's token and name, and the values that payments by card need.

    `stripe_url`: another Stripe that charges cards; None: the sandbox's own account does.
    """

    token: str
    bot: Json
    provider_token: str
    stripe_key: str
    stripe_url: str | None


@dataclass(frozen=True, slots=True)
class FaultsView:
    """The faults that are set; `held` calls wait to be released."""

    calls: list[Fault]
    updates: list[UpdateFault]
    away: bool
    held: int


class Views:
    """Reads of the control API, without an effect."""

    def __init__(self, world: World) -> None:
        self._world = world

    def about(self) -> About:
        """View the token and the bot's user, and the values that cards need."""
        settings = self._world.settings
        return About(
            self._world.token, self._world.bot, settings.provider_token, settings.stripe_key, settings.stripe_url
        )

    def persons(self) -> list[Person]:
        """View all persons."""
        return list(self._world.people.persons.values())

    def person(self, *, user_id: int) -> Person:
        """View a person."""
        return self._world.people.person(user_id)

    def groups(self) -> list[Group]:
        """View all groups."""
        return list(self._world.people.groups.values())

    def chat(self, *, chat_id: int) -> list[ChatMessage]:
        """View a chat's messages in order, deleted ones too."""
        return self._world.messages.transcript(chat_id=chat_id)

    def updates_waiting(self) -> list[UpdateRecord]:
        """View the updates that the bot has not confirmed."""
        return self._world.queue.waiting()

    def updates_past(self) -> list[UpdateRecord]:
        """View the last updates that no longer wait, with the fate of each."""
        self._world.queue.waiting()  # lets what has expired go first
        return list(self._world.queue.past)

    def polling(self) -> bool:
        """Tell whether a getUpdates call is open: the bot waits."""
        return self._world.poller.holding

    def ledger(self, *, offset: int = 0, limit: int = 1_000) -> list[Json]:
        """View rows of the Star ledger, oldest first."""
        return self._world.ledger.page(offset, limit)

    def ledger_length(self) -> int:
        """View the number of the Star ledger's rows."""
        return len(self._world.ledger.rows)

    def balance(self) -> Json:
        """View the bot's StarAmount."""
        return self._world.ledger.balance()

    def charges(self, *, user_id: int | None = None) -> list[Charge]:
        """View all charges in order, or those of a person."""
        return [found for found in self._world.charges.by_id.values() if user_id in (None, found.user_id)]

    def payments(self) -> list[Payment]:
        """View all attempts to pay, in order."""
        return list(self._world.checkout.payments.values())

    def offer(self, *, offer_id: str) -> Offer:
        """View a payable invoice by its message or link. Raises ControlError."""
        return self._world.offers.find(offer_id)

    def calls(self, *, method: str | None = None, after: int = 0) -> list[Call]:
        """View the bot's calls after a number."""
        return self._world.calls.listing(method=method, after=after)

    def faults(self) -> FaultsView:
        """View the faults that are set."""
        faults = self._world.faults
        return FaultsView(faults.calls, faults.updates, faults.away, faults.held)

    def switches(self) -> Switches:
        """View the switches."""
        return self._world.settings.switches
