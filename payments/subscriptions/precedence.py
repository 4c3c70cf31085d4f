"""Decides which of two subscriptions with the same entitlement goes on. Pure functions.

A subscription runs while Telegram is going to renew it, whatever its grants say, and while a paid period is open. No
other one with the same entitlement may start while it runs. A start that the desk keeps replaces the subscriptions
before it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from db.states import SubscriptionState
from db.tables import Subscription
from payments.renewals import RenewalReason
from payments.subscriptions.chain import UNHEARD, Chain, Charge, charge_order, is_change_before_charge


@dataclass(frozen=True, slots=True)
class Rival:
    """A subscription beside others of its user: its entitlements, and its row (None: the book has yet to write it)."""

    chain: Chain
    opens: frozenset[str]
    row: Subscription | None
    is_to_end: bool
    """The desk wants Telegram to end the renewal, or Telegram has ended it for the desk."""

    @property
    def is_over_by_itself(self) -> bool:
        """Tell whether the rival is to end for a reason of its own, and not because another one replaces it."""
        return self.is_to_end and (self.row is None or self.row.wanted_because != RenewalReason.REPLACED)

    @property
    def ids(self) -> frozenset[str]:
        """The ids of the rival's charges."""
        return frozenset(period.charge.id for period in self.chain.periods)

    def opens_same(self, other: "Rival") -> bool:
        """Tell whether another subscription opens an entitlement that this one opens."""
        return other is not self and not self.opens.isdisjoint(other.opens)


def runs(rival: Rival, at: datetime, start: Charge | None = None, *, by_what_is_paid: bool = False) -> bool:
    """Tell whether a subscription runs at a moment, or ran when a `start` came.

    After a failed renewal it runs no more, so that the buyer may buy it again. With a `start`, only facts from before
    it count. `by_what_is_paid` asks only for an open period that is still paid today, to settle the past again: without
    a renewal since then there was none to come, and a refund since then has left the other one in its place.
    """
    chain = rival.chain if start is None else _chain_before_start(rival.chain, start)
    if chain is None or chain.telegram_state is SubscriptionState.FAILED:
        return False
    kept_at = None if by_what_is_paid else at
    if any(_opened_something_at(period.charge, kept_at) and period.ends_at > at for period in chain.periods):
        return True
    if by_what_is_paid or chain.telegram_state is SubscriptionState.CANCELED or rival.is_over_by_itself:
        return False
    return at < chain.ends_at + UNHEARD and not _refund_ended_renewal(chain, at)


def replaces(later: Rival, earlier: Rival) -> bool:
    """Tell whether a later subscription replaces an earlier one: same entitlement, and the desk has kept its charge."""
    first = later.chain.first
    is_kept = not first.is_given_back and not later.chain.is_refunded
    return later.opens_same(earlier) and charge_order(first) > charge_order(earlier.chain.first) and is_kept


def is_replaced(rival: Rival, others: Iterable[Rival], now: datetime) -> bool:
    """Tell whether a subscription's renewal is to end because a later subscription replaces it.

    A later one that is left to renew replaces every one that began before it. One that is to end replaces only a
    subscription without any wish or change since the later one began, so that the result is the same in whatever order
    Telegram tells of the two.
    """
    if rival.chain.telegram_state is SubscriptionState.CANCELED:
        return False
    later = [other for other in others if replaces(other, rival)]
    if any(is_left_to_renew(other, now) for other in later):
        return True
    is_resumed = rival.chain.current_change is not None and rival.chain.telegram_state is SubscriptionState.ACTIVE
    was_wanted = rival.row is not None and rival.row.renewal_wanted is not None
    newest = charge_order(rival.chain.newest)
    return not was_wanted and not is_resumed and any(newest < charge_order(other.chain.first) for other in later)


def is_left_to_renew(rival: Rival, now: datetime) -> bool:
    """Tell whether Telegram may charge for a subscription and the desk lets it."""
    tried_until = rival.chain.tried_until
    return tried_until is not None and now < tried_until and not rival.is_to_end


def _chain_before_start(chain: Chain, start: Charge) -> Chain | None:
    """Return the part of a chain before another subscription's first charge; None: the chain began later."""
    periods = [period for period in chain.periods if charge_order(period.charge) < charge_order(start)]
    changes = [change for change in chain.changes if is_change_before_charge(change, start)]
    return Chain(periods, changes) if periods else None


def _opened_something_at(charge: Charge, at: datetime | None) -> bool:
    """Tell whether a charge opened access at a moment, or (None) opens it now; a charge given back never did."""
    was_refunded_later = at is not None and charge.refunded_at is not None and charge.refunded_at > at
    return not charge.is_given_back and (charge.is_paid or was_refunded_later)


def _refund_ended_renewal(chain: Chain, at: datetime) -> bool:
    """Tell whether a refund of the newest charge had ended the renewal by a moment, without a change since."""
    newest = chain.newest
    is_back = newest.is_refunded and (newest.is_given_back or newest.refunded_at is None or newest.refunded_at <= at)
    return is_back and chain.current_change is None
