"""The sandbox's world: one Telegram with one bot. Knows no HTTP; a plain method call makes each change."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

from sandbox.actions import Actions
from sandbox.callbacks import Callbacks
from sandbox.calls import CallLog
from sandbox.cards import Cards
from sandbox.charges import Charges
from sandbox.checkout import Checkout
from sandbox.clock import VirtualClock
from sandbox.commands import Commands
from sandbox.errors import ControlError
from sandbox.faults import Faults
from sandbox.feed import Feed
from sandbox.files import Files
from sandbox.history import History
from sandbox.invoices import Offers
from sandbox.ledger import Ledger
from sandbox.messages import Messages
from sandbox.people import People
from sandbox.polling import Poller
from sandbox.settings import Settings, Switches
from sandbox.stripe.account import Account
from sandbox.stripe.dashboard import Dashboard
from sandbox.subscriptions import Subscriptions
from sandbox.updates import UpdateQueue

if TYPE_CHECKING:
    from sandbox.shapes import Json


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The virtual time, and its offset from the real one."""

    now: datetime
    offset_seconds: float


class World:
    """The world, wired from all its parts; `token` opens the Bot API, and `replace_token` changes it."""

    def __init__(self, settings: Settings) -> None:
        random = self.random = Random(settings.seed)  # noqa: S311 - reproducible identifiers, no secrets
        self.settings = settings
        self.token = settings.token
        self.bot: Json = {
            "id": int(settings.token.partition(":")[0]),
            "is_bot": True,
            "first_name": settings.bot_name,
            "username": settings.bot_username,
        }
        self.clock = VirtualClock()
        self.feed = Feed()
        self.faults = Faults(self.feed)
        self.queue = UpdateQueue(self.clock, self.feed, self.faults, random)
        self.poller = Poller(self.queue, self.feed)
        self.queue.on_push = self.poller.wake
        self.faults.on_away = self.poller.wake
        self.people = People(self.feed)
        self.messages = Messages(self.clock, self.queue, self.people, self.feed, self.bot)
        self.ledger = Ledger(self.clock, self.people, self.feed, random)
        self.offers = Offers(random)
        self.charges = Charges(self.clock, self.people, self.messages, self.ledger, self.feed, settings, random)
        self.stripe = Account(self.clock.now, random, settings.stripe_key)
        self.stripe.on_change = lambda: self.feed.publish("stripe")
        self.cards = Cards(self.clock, self.people, self.messages, self.feed, settings, self.stripe, random)
        self.dashboard = Dashboard(self.stripe, self.cards)
        self.subscriptions = Subscriptions(
            self.clock, self.queue, self.people, self.charges, self.feed, settings.switches
        )
        self.checkout = Checkout(
            self.clock,
            self.queue,
            self.people,
            self.offers,
            self.charges,
            self.cards,
            self.subscriptions,
            self.feed,
            random,
        )
        self.history = History(self.people, self.charges, self.ledger, self.subscriptions)
        self.callbacks = Callbacks(self.clock, self.queue, self.feed, random)
        self.files = Files(random)
        self.commands = Commands(self.people)
        self.calls = CallLog(self.clock, self.feed)
        self.actions = Actions(
            self.people,
            self.messages,
            self.callbacks,
            self.checkout,
            self.offers,
            self.queue,
            self.clock,
            self.bot,
        )

    def read_clock(self) -> ClockReading:
        """Read the world's virtual clock."""
        return ClockReading(self.clock.now(), self.clock.offset.total_seconds())

    def move_clock(self, *, seconds: float) -> ClockReading:
        """Move the world's clock forward; timers on the way fire in order. Raises ControlError for a step back."""
        try:
            self.clock.move(timedelta(seconds=seconds))
        except (ValueError, OverflowError) as refusal:
            raise ControlError(str(refusal)) from refusal
        self.feed.publish("clock", offset_seconds=self.clock.offset.total_seconds())
        return self.read_clock()

    def replace_token(self, *, token: str) -> None:
        """Replace the bot's token, and revoke the old one. Raises ControlError for another bot's."""
        if token.partition(":")[0] != str(self.bot["id"]):
            raise ControlError(f"a token of this bot begins with {self.bot['id']}:")
        self.token = token
        self.feed.publish("token")

    def set_switches(
        self,
        *,
        refuse_refund_below_balance: bool | None = None,
        announce_bot_cancel: bool | None = None,
        price_stars_max: int | None = None,
        server_before_9: bool | None = None,
        affiliate_per_mille: int | None = None,
        affiliate_amounts_net: bool | None = None,
    ) -> Switches:
        """Turn the given switches of the world."""
        switches = self.settings.switches
        if refuse_refund_below_balance is not None:
            switches.refuse_refund_below_balance = refuse_refund_below_balance
        if announce_bot_cancel is not None:
            switches.announce_bot_cancel = announce_bot_cancel
        if price_stars_max is not None:
            switches.price_stars_max = price_stars_max
        if server_before_9 is not None:
            switches.server_before_9 = server_before_9
            self.queue.know_subscriptions(not server_before_9)
        if affiliate_per_mille is not None:
            switches.affiliate_per_mille = affiliate_per_mille
        if affiliate_amounts_net is not None:
            switches.affiliate_amounts_net = affiliate_amounts_net
        self.feed.publish("switches")
        return switches
