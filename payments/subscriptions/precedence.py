"""Precedence between two subscriptions that open the same entitlement: the one that goes on. Pure functions.

A subscription runs while Telegram is going to renew it, whatever its grants say, and while a paid period is open. None
may start while another one with the same entitlement runs. A start that was kept replaces the subscriptions before it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from db.tables import Subscription, SubscriptionState
from payments.renewals import RenewalReason
from payments.subscriptions.chain import UNHEARD, Chain, Charge, charge_order, is_change_before_charge


@dataclass(frozen=True, slots=True)
class Rival:
    """A subscription beside others of its user: its entitlements, and its row (None: not written yet)."""

    chain: Chain
    opens: frozenset[str]
    row: Subscription | None
    is_to_end: bool
    """The desk has Telegram end the renewal, or has had it ended."""

    @property
    def is_over_by_itself(self) -> bool:
        """Tell whether a rival's end is wanted for a reason of its own, not a rival's."""
        return self.is_to_end and (self.row is None or self.row.wanted_because != RenewalReason.REPLACED)

    @property
    def ids(self) -> frozenset[str]:
        """The ids of the charges of a rival for precedence."""
        return frozenset(period.charge.id for period in self.chain.periods)

    def opens_same(self, other: "Rival") -> bool:
        """Tell whether another rival opens an entitlement that this one opens."""
        return other is not self and not self.opens.isdisjoint(other.opens)


def runs(rival: Rival, at: datetime, start: Charge | None = None, *, by_what_is_paid: bool = False) -> bool:
    """Tell whether a subscription runs at a moment, or ran when a `start` came.

    One whose renewal has failed does not run: it may be bought anew. With a `start`, only facts from before it count.
    `by_what_is_paid` asks only whether a period is open that is still paid today, for settling the past anew: a
    subscription that was not renewed since then was not going to be, and one that was refunded since then has left the
    other one in its place.
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
    """Tell whether a later subscription took precedence over another with the same entitlement, and was kept."""
    first = later.chain.first
    is_kept = not first.is_given_back and not later.chain.is_refunded
    return later.opens_same(earlier) and charge_order(first) > charge_order(earlier.chain.first) and is_kept


def is_replaced(rival: Rival, others: Iterable[Rival], now: datetime) -> bool:
    """Tell whether a subscription's renewal is to end because another one takes precedence over it.

    A subscription that is left to renew replaces every one that began before it. One that is not left to renew replaces
    a subscription without any wish or word since it began, because the order in which Telegram tells of the two must
    not matter.
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
    """Tell whether Telegram may charge for a subscription and the desk leaves it so."""
    tried_until = rival.chain.tried_until
    return tried_until is not None and now < tried_until and not rival.is_to_end


def _chain_before_start(chain: Chain, start: Charge) -> Chain | None:
    """Return the part of a rival before another's first charge; None: it began later."""
    periods = [period for period in chain.periods if charge_order(period.charge) < charge_order(start)]
    changes = [change for change in chain.changes if is_change_before_charge(change, start)]
    return Chain(periods, changes) if periods else None


def _opened_something_at(charge: Charge, at: datetime | None) -> bool:
    """Tell whether a rival's charge opened something then, or (None) now; one given back never."""
    was_refunded_later = at is not None and charge.refunded_at is not None and charge.refunded_at > at
    return not charge.is_given_back and (charge.is_paid or was_refunded_later)


def _refund_ended_renewal(chain: Chain, at: datetime) -> bool:
    """Tell whether a refund of the newest charge was to end a renewal, not resumed since."""
    newest = chain.newest
    is_back = newest.is_refunded and (newest.is_given_back or newest.refunded_at is None or newest.refunded_at <= at)
    return is_back and chain.current_change is None
