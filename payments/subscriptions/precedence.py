"""Which of two subscriptions that open the same goes on: pure functions of what is known of both.

A subscription runs while Telegram is going to renew it, whatever its grants say, and while what is paid of it is open.
None may start under one that runs; the start that was kept takes the place of whatever else opens the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from db.tables import Subscription, SubscriptionState
from payments.renewals import RenewalReason
from payments.subscriptions.chain import UNHEARD, Chain, Charge, is_told_before, place


@dataclass(frozen=True, slots=True)
class Rival:
    """A subscription beside others of its user: what it opens, and its row (None: not written yet)."""

    chain: Chain
    opens: frozenset[str]
    row: Subscription | None
    is_to_end: bool
    """Whether the desk has Telegram end its renewal, brought about or not."""

    @property
    def is_over_by_itself(self) -> bool:
        """Whether its end is wanted for a reason of its own, whatever else opens the same."""
        return self.is_to_end and (self.row is None or self.row.wanted_because != RenewalReason.REPLACED)

    @property
    def ids(self) -> frozenset[str]:
        """The ids of its charges."""
        return frozenset(period.charge.id for period in self.chain.periods)

    def opens_same(self, other: "Rival") -> bool:
        """Tell whether another one opens something that this one opens."""
        return other is not self and not self.opens.isdisjoint(other.opens)


def runs(rival: Rival, at: datetime, start: Charge | None = None, *, by_what_is_paid: bool = False) -> bool:
    """Tell whether a subscription runs at a moment, by all that is known, or by what came before a `start`.

    One whose renewal has failed may be bought anew: it does not run. `by_what_is_paid` asks only whether what is paid
    to this day is open, as when the past is settled anew: what has not been renewed since then was not going to be, and
    what went back since then has left the other one in its place.
    """
    chain = rival.chain if start is None else _before(rival.chain, start)
    if chain is None or chain.said is SubscriptionState.FAILED:
        return False
    kept_at = None if by_what_is_paid else at
    if any(_is_kept(period.charge, kept_at) and period.ends_at > at for period in chain.periods):
        return True
    if by_what_is_paid or chain.said is SubscriptionState.CANCELED or rival.is_over_by_itself:
        return False
    return at < chain.ends_at + UNHEARD and not _was_ended_by_refund(chain, at)


def replaces(later: Rival, earlier: Rival) -> bool:
    """Tell whether a subscription began after another one that opens the same, and was kept."""
    first = later.chain.first
    is_kept = not first.goes_back and not later.chain.is_given_back
    return later.opens_same(earlier) and place(first) > place(earlier.chain.first) and is_kept


def is_replaced(rival: Rival, others: Iterable[Rival], now: datetime) -> bool:
    """Tell whether a renewal is to be ended because of one of `others`.

    What is left to renew takes the place of whatever began before it. So does what is not, of one of which nothing was
    wanted and heard since it began: which of the two is told of first must not matter.
    """
    if rival.chain.said is SubscriptionState.CANCELED:
        return False
    later = [other for other in others if replaces(other, rival)]
    if any(is_left_to_renew(other, now) for other in later):
        return True
    is_taken_up = rival.chain.change is not None and rival.chain.said is SubscriptionState.ACTIVE
    was_wanted = rival.row is not None and rival.row.renewal_wanted is not None
    newest = place(rival.chain.newest)
    return not was_wanted and not is_taken_up and any(newest < place(other.chain.first) for other in later)


def is_left_to_renew(rival: Rival, now: datetime) -> bool:
    """Tell whether Telegram may take another price for it, and the desk does nothing about that."""
    tried_until = rival.chain.tried_until
    return tried_until is not None and now < tried_until and not rival.is_to_end


def _before(chain: Chain, start: Charge) -> Chain | None:
    """Return what of a subscription came before another one's first charge; None: it began later."""
    periods = [period for period in chain.periods if place(period.charge) < place(start)]
    changes = [change for change in chain.changes if is_told_before(change, start)]
    return Chain(periods, changes) if periods else None


def _is_kept(charge: Charge, at: datetime | None) -> bool:
    """Tell whether a charge opened something at a moment, or (None) does; what goes back by itself never did."""
    was_given_back_later = at is not None and charge.given_back_at is not None and charge.given_back_at > at
    return not charge.goes_back and (charge.is_paid or was_given_back_later)


def _was_ended_by_refund(chain: Chain, at: datetime) -> bool:
    """Tell whether its renewal was to end with a refund of its newest charge, and nobody has taken it up since."""
    newest = chain.newest
    is_back = newest.is_given_back and (newest.goes_back or newest.given_back_at is None or newest.given_back_at <= at)
    return is_back and chain.change is None
