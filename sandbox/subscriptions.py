"""Star subscriptions: Telegram renews each every 30 days, and does not ask the bot."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sandbox.charges import Charge, Charges, Period, period_after
from sandbox.clock import Timer, VirtualClock
from sandbox.errors import ControlError, bad_request
from sandbox.feed import Feed
from sandbox.invoices import Invoice
from sandbox.people import People
from sandbox.settings import Switches
from sandbox.updates import MESSAGE_LIFE, UpdateQueue


class SubscriptionState(StrEnum):
    """The state of a subscription."""

    ACTIVE = "active"
    CANCELED = "canceled"
    """It will not renew; it lasts to the end of the period."""
    FAILED = "failed"
    """The renewal could not be paid; `renew` can still pay it."""
    ENDED = "ended"


@dataclass(slots=True)
class Subscription:
    """A subscription, with the id of its first charge. `canceled_by_bot`: the person cannot resume it."""

    id: str
    user_id: int
    invoice: Invoice
    ends_at: datetime
    state: SubscriptionState = SubscriptionState.ACTIVE
    canceled_by_bot: bool = False
    renewals_to_fail: int = 0


class Subscriptions:
    """All subscriptions by the id of their first charge."""

    def __init__(
        self,
        clock: VirtualClock,
        queue: UpdateQueue,
        people: People,
        charges: Charges,
        feed: Feed,
        switches: Switches,
    ) -> None:
        self.by_id: dict[str, Subscription] = {}
        self._clock = clock
        self._queue = queue
        self._people = people
        self._charges = charges
        self._feed = feed
        self._switches = switches
        self._timers: dict[str, Timer] = {}

    def begin(self, charge: Charge, invoice: Invoice, ends_at: datetime) -> None:
        """Begin the subscription that a first charge has paid for."""
        subscription = self.by_id[charge.id] = Subscription(charge.id, charge.user_id, invoice, ends_at)
        self._schedule(subscription)
        self._changed(subscription)

    def adopt(self, charge: Charge, invoice: Invoice, ends_at: datetime) -> None:
        """Adopt a past charge of a subscription: its first one, or one that renewed it."""
        found = self.by_id.get(charge.subscription_id or "")
        if found is None:
            self.begin(charge, invoice, ends_at)
            found = self.by_id[charge.id]
        else:
            found.ends_at = ends_at
            self._reschedule(found)
        over = ends_at <= self._clock.now()
        found.state = SubscriptionState.ENDED if over else SubscriptionState.ACTIVE

    def restore(self, subscriptions: list[Subscription]) -> None:
        """Restore the subscriptions of an earlier run; renewals that fell due meanwhile happen now."""
        for subscription in subscriptions:
            self.by_id[subscription.id] = subscription
            self._schedule(subscription)

    def listing(self, *, user_id: int | None = None) -> list[Subscription]:
        """Return all subscriptions, or those of a person."""
        return [found for found in self.by_id.values() if user_id in (None, found.user_id)]

    def fail_renewals(self, *, subscription_id: str, count: int = 1) -> Subscription:
        """Make the next renewals fail, whatever the payer's balance."""
        subscription = self._find(subscription_id)
        subscription.renewals_to_fail = count
        self._changed(subscription)
        return subscription

    def renew(self, *, subscription_id: str) -> Subscription:
        """Renew a subscription now: early, or again after a renewal failed.

        Raises ControlError when it does not renew.
        """
        subscription = self._find(subscription_id)
        if subscription.state in (SubscriptionState.CANCELED, SubscriptionState.ENDED):
            raise ControlError(f"the subscription is {subscription.state}: it does not renew")
        self._renew(subscription)
        return subscription

    def cancel(self, *, subscription_id: str) -> Subscription:
        """Cancel a subscription as its owner; it lasts to the end of the period."""
        subscription = self._find(subscription_id)
        if subscription.state is not SubscriptionState.ACTIVE:
            raise ControlError(f"the subscription is {subscription.state}: there is nothing to cancel")
        subscription.state = SubscriptionState.CANCELED
        self._announce(subscription, "canceled")
        return subscription

    def take_up_again(self, *, subscription_id: str) -> Subscription:
        """Resume a subscription as its owner, who had cancelled it; no money moves."""
        subscription = self._find(subscription_id)
        if subscription.state is not SubscriptionState.CANCELED:
            raise ControlError(f"the subscription is {subscription.state}: it cannot be resumed")
        if subscription.canceled_by_bot:
            raise ControlError("the bot has cancelled the subscription: only the bot can allow it again")
        subscription.state = SubscriptionState.ACTIVE
        self._announce(subscription, "active")
        return subscription

    def edit_by_bot(self, user_id: int, charge_id: str, *, canceled: bool) -> None:
        """Cancel a subscription's renewal, or allow its owner to resume it.

        It does the work of editUserStarSubscription. Raises ApiError. It takes the first charge's id (MTProto,
        payments.botCancelStarsSubscription); nobody knows whether Telegram takes a renewal's.
        """
        subscription = self.by_id.get(charge_id)
        if subscription is None:
            raise bad_request("CHARGE_ID_INVALID")
        if subscription.user_id != user_id:
            raise bad_request("USER_ID_INVALID")
        if subscription.state is SubscriptionState.ENDED:
            raise bad_request("SUBSCRIPTION_NOT_ACTIVE")
        subscription.canceled_by_bot = canceled
        if canceled:
            self._stop_renewing(subscription)

    def _stop_renewing(self, subscription: Subscription) -> None:
        was_active = subscription.state is not SubscriptionState.CANCELED
        over = subscription.ends_at <= self._clock.now()
        subscription.state = SubscriptionState.ENDED if over else SubscriptionState.CANCELED
        if was_active and self._switches.announce_bot_cancel:
            self._announce(subscription, "canceled")
        else:
            self._changed(subscription)

    def _schedule(self, subscription: Subscription) -> None:
        self._timers[subscription.id] = self._clock.call_at(subscription.ends_at, lambda: self._reach_end(subscription))

    def _reschedule(self, subscription: Subscription) -> None:
        self._timers[subscription.id].cancel()
        self._schedule(subscription)

    def _reach_end(self, subscription: Subscription) -> None:
        if subscription.state is SubscriptionState.CANCELED:
            subscription.state = SubscriptionState.ENDED
            self._changed(subscription)
        elif subscription.state is not SubscriptionState.ENDED:
            self._renew(subscription)

    def _renew(self, subscription: Subscription) -> None:
        person = self._people.person(subscription.user_id)
        if subscription.renewals_to_fail or person.balance_stars < subscription.invoice.total_amount:
            subscription.renewals_to_fail = max(subscription.renewals_to_fail - 1, 0)
            subscription.state = SubscriptionState.FAILED
            self._announce(subscription, "failed")
            return
        # A late renewal begins when it is paid, an early one where the period before it ends.
        subscription.ends_at = period_after(max(subscription.ends_at, self._clock.now()))
        subscription.state = SubscriptionState.ACTIVE
        self._reschedule(subscription)
        self._charges.take(person, subscription.invoice, Period(subscription.ends_at, subscription.id))
        self._changed(subscription)

    def _find(self, subscription_id: str) -> Subscription:
        if subscription_id not in self.by_id:
            raise ControlError(f"there is no subscription {subscription_id}")
        return self.by_id[subscription_id]

    def _announce(self, subscription: Subscription, state: str) -> None:
        update = {
            "user": self._people.person(subscription.user_id).user(),
            "invoice_payload": subscription.invoice.payload,
            "state": state,
        }
        self._queue.push("subscription", update, MESSAGE_LIFE)
        self._changed(subscription)

    def _changed(self, subscription: Subscription) -> None:
        self._feed.publish("subscription", subscription_id=subscription.id, state=subscription.state)
