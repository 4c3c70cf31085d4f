"""What the charges on one payload make of a subscription: pure functions of what is known, whatever came first.

A renewal brings the payload of the first invoice, a charge id of its own, and no pre-checkout query
(core.telegram.org/api/subscriptions). The first charge names the subscription at Telegram for ever
(payments.botCancelStarsSubscription).
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from db.tables import SubscriptionState
from entitlements.fold import SLACK
from payments.audit.facts import Change

PERIOD: Final = timedelta(days=30)
"""The only one that Telegram sells (Bot API, createInvoiceLink: subscription_period)."""

UPDATE_LIFE: Final = timedelta(days=1)
"""How long Telegram keeps an update (Bot API, getUpdates): what comes now happened at most so long ago."""

UPDATE_IDS_LIFE: Final = timedelta(days=6)
"""Of two updates further apart the ids say nothing: they begin anew after a quiet week (Bot API, Update)."""

UPDATE_IDS_NEAR: Final = 1_000_000
"""Nor do ids further apart: a week may have been quiet by Telegram's clock that was none by ours."""

UNHEARD: Final = timedelta(days=3)
"""How long after its end a subscription is believed to go on of which neither a charge nor a failure is heard."""

TRIED: Final = timedelta(days=7)
"""How long after its end a renewal is believed to be tried that has failed; Telegram says nowhere how long it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """A charge of a subscription as it is known now; times are aware, UTC.

    `ends_at` and `is_first` are None while only Telegram's ledger has told of it, and so is `update_id`. `is_paid`: it
    has granted something that is not revoked. `is_given_back`: its refund is through, or the desk's own is under way;
    `given_back_at` is when it went back, as far as that is known. `goes_back`: the desk gives it back by itself.
    """

    id: str
    paid_at: datetime
    recorded_at: datetime
    ends_at: datetime | None
    is_first: bool | None
    update_id: int | None
    is_paid: bool
    is_given_back: bool
    given_back_at: datetime | None = None
    goes_back: bool = False


@dataclass(frozen=True, slots=True)
class Period:
    """A charge, and until when it pays: Telegram's date, or an estimate."""

    charge: Charge
    ends_at: datetime


@dataclass(slots=True)
class Chain:
    """One subscription: its periods by date, never none, and its changes in the order of Telegram's updates."""

    periods: list[Period]
    changes: list[Change] = field(default_factory=list)

    @property
    def first(self) -> Charge:
        """The charge that names it."""
        return self.periods[0].charge

    @property
    def newest(self) -> Charge:
        """The latest charge."""
        return self.periods[-1].charge

    @property
    def ends_at(self) -> datetime:
        """When Telegram renews it next, or would."""
        return max(period.ends_at for period in self.periods)

    @property
    def is_given_back(self) -> bool:
        """Whether nothing is kept of what was paid for it: its renewal was ended, or is to be."""
        return all(period.charge.is_given_back for period in self.periods)

    @property
    def paid(self) -> Period | None:
        """The period that is paid for the longest; None: nothing is."""
        return max((period for period in self.periods if period.charge.is_paid), key=_end, default=None)

    @property
    def change(self) -> Change | None:
        """The newest change, unless a later charge has made it old."""
        newest = self.changes[-1] if self.changes else None
        return None if newest is None or is_after(self.newest, newest) else newest

    @property
    def said(self) -> SubscriptionState:
        """What Telegram has it as, as far as it has told: active, canceled or failed."""
        change = self.change
        return SubscriptionState.ACTIVE if change is None else change.state

    @property
    def tried_until(self) -> datetime | None:
        """Until when Telegram may take another price for it; None: it takes none, as it has said or was told."""
        match self.said:
            case SubscriptionState.CANCELED:
                return None
            case SubscriptionState.FAILED:
                return self.ends_at + TRIED
            case _:
                return self.ends_at + UNHEARD


@dataclass(frozen=True, slots=True)
class Terms:
    """The seller's: days of grace after a failed renewal, and days before an end when a reminder is due (0: none)."""

    grace_days: int = 1
    remind_days: int = 3

    @property
    def grace(self) -> timedelta:
        """The time of grace."""
        return timedelta(days=self.grace_days)


@dataclass(frozen=True, slots=True)
class SubscriptionStatus:
    """How a subscription stands at a moment, and when time alone changes that next (None: never)."""

    state: SubscriptionState
    check_at: datetime | None
    is_reminder_due: bool = False


def place(charge: Charge) -> tuple[datetime, str]:
    """Return where a charge stands among others: Telegram's dates are whole seconds (Bot API, Message: date)."""
    return charge.paid_at, charge.id


def stand(chain: Chain, terms: Terms, now: datetime) -> SubscriptionStatus:
    """Return how a subscription stands: as its newest charge or change says, until its time is over."""
    state, paid = chain.said, chain.paid
    if state is SubscriptionState.ACTIVE:
        over_at = chain.ends_at + UNHEARD
    elif paid is None:
        over_at = now
    else:
        over_at = paid.ends_at + SLACK
        if state is SubscriptionState.FAILED:
            over_at += terms.grace
    if over_at <= now:
        return SubscriptionStatus(SubscriptionState.ENDED, None)
    if state is not SubscriptionState.ACTIVE or not terms.remind_days:
        return SubscriptionStatus(state, over_at)
    remind_at = chain.ends_at - timedelta(days=terms.remind_days)
    is_reminder_due = remind_at <= now < chain.ends_at
    return SubscriptionStatus(state, remind_at if now < remind_at else over_at, is_reminder_due)


def failed_periods(chain: Chain) -> list[Period]:
    """Return the periods whose renewal has failed and that are paid: grace is theirs, renewed since or not."""
    failed = []
    for change in chain.changes:
        if change.state is SubscriptionState.FAILED:
            before = [period for period in chain.periods if not is_after(period.charge, change)]
            if before and before[-1].charge.is_paid:
                failed.append(before[-1])
    return failed


def is_after(charge: Charge, change: Change) -> bool:
    """Tell whether a charge came after a change of its subscription, by Telegram's order where there is one."""
    if (ahead := _ids_ahead(charge, change)) is not None:
        return ahead > 0
    is_of_ledger = charge.update_id is None or change.update_id is None
    is_failure = change.state is SubscriptionState.FAILED
    if is_of_ledger and is_failure and change.recorded_at - charge.paid_at < UPDATE_LIFE:
        # Only the ledger has told of the charge: a failure of the same day is the one that it has made good.
        return True
    return is_told_before(change, charge)


def is_told_before(change: Change, charge: Charge) -> bool:
    """Tell whether a change was told before a charge of any subscription was paid, by Telegram's order if there is one.

    Told before the change it is not after it, however far Telegram's clock and ours are apart.
    """
    if (ahead := _ids_ahead(charge, change)) is not None:
        return ahead > 0
    return min(charge.paid_at, charge.recorded_at) > change.recorded_at


def _ids_ahead(charge: Charge, change: Change) -> int | None:
    """Return how far the id of a charge's update is ahead of a change's; None: the ids say nothing of their order."""
    if charge.update_id is None or change.update_id is None:
        return None
    ahead = charge.update_id - change.update_id
    is_near = abs(ahead) < UPDATE_IDS_NEAR and abs(charge.recorded_at - change.recorded_at) < UPDATE_IDS_LIFE
    return ahead if is_near else None


def _end(period: Period) -> datetime:
    return period.ends_at
