"""Treats one subscription as a chain of charges: its periods, its state at Telegram, its status. Pure functions.

A renewal has the payload of the first invoice and a charge id of its own, and comes without a pre-checkout query
(core.telegram.org/api/subscriptions). The id of the first charge remains the subscription's name at Telegram
(payments.botCancelStarsSubscription).
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from db.states import SubscriptionState
from entitlements.fold import SLACK
from payments.audit.facts import Change

PERIOD: Final = timedelta(days=30)
"""The only subscription period that Telegram sells (Bot API, createInvoiceLink: subscription_period)."""

UPDATE_LIFE: Final = timedelta(days=1)
"""Telegram keeps an update so long (Bot API, getUpdates), so that the event in an update is younger."""

UPDATE_IDS_LIFE: Final = timedelta(days=6)
"""Only ids of updates within this time tell their order, because ids restart after a quiet week (Bot API, Update)."""

UPDATE_IDS_NEAR: Final = 1_000_000
"""Only ids within this distance tell their order, because a week may have been quiet by Telegram's clock alone."""

UNHEARD: Final = timedelta(days=3)
"""The desk takes a subscription as going on for so long after its end while neither a charge nor a failure comes."""

TRIED: Final = timedelta(days=7)
"""The desk expects Telegram to retry a failed renewal for so long after the end; Telegram documents no limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """A charge of a subscription, with the records of it so far; times are aware, UTC.

    `ends_at`, `is_first` and `update_id` are None while only Telegram's ledger has told of it. `is_paid`: a grant
    of it stands unrevoked. `is_refunded`: its provider has made the refund, or the desk's own is under way;
    `refunded_at` is the refund's date, if known. `is_given_back`: the desk refunds it by itself.
    """

    id: str
    paid_at: datetime
    recorded_at: datetime
    ends_at: datetime | None
    is_first: bool | None
    update_id: int | None
    is_paid: bool
    is_refunded: bool
    refunded_at: datetime | None = None
    is_given_back: bool = False


@dataclass(frozen=True, slots=True)
class Period:
    """A charge of a subscription and the end of the period it pays: Telegram's date, or an estimate."""

    charge: Charge
    ends_at: datetime


@dataclass(slots=True)
class Chain:
    """One subscription: its periods by date (at least one), and its changes in the order of Telegram's updates."""

    periods: list[Period]
    changes: list[Change] = field(default_factory=list)

    @property
    def first(self) -> Charge:
        """The chain's first charge: it names the subscription at Telegram."""
        return self.periods[0].charge

    @property
    def newest(self) -> Charge:
        """The chain's latest charge."""
        return self.periods[-1].charge

    @property
    def ends_at(self) -> datetime:
        """The date of the chain's next renewal, if Telegram renews it."""
        return max(period.ends_at for period in self.periods)

    @property
    def is_refunded(self) -> bool:
        """Tell whether all charges of the chain have a refund: its renewal has ended or is to end."""
        return all(period.charge.is_refunded for period in self.periods)

    @property
    def paid(self) -> Period | None:
        """The chain's paid period with the latest end; None: no period is paid."""
        paid = [period for period in self.periods if period.charge.is_paid]
        return max(paid, key=lambda period: period.ends_at, default=None)

    @property
    def current_change(self) -> Change | None:
        """The chain's newest change of state; None: the state has never changed, or a later charge has replaced it."""
        newest = self.changes[-1] if self.changes else None
        return None if newest is None or is_charge_after_change(self.newest, newest) else newest

    @property
    def telegram_state(self) -> SubscriptionState:
        """The chain's state at Telegram, by its updates: active, canceled or failed."""
        change = self.current_change
        return SubscriptionState.ACTIVE if change is None else change.state

    @property
    def tried_until(self) -> datetime | None:
        """The date until which Telegram may charge the chain's next price; None: the renewal is canceled."""
        match self.telegram_state:
            case SubscriptionState.CANCELED:
                return None
            case SubscriptionState.FAILED:
                return self.ends_at + TRIED
            case _:
                return self.ends_at + UNHEARD


@dataclass(frozen=True, slots=True)
class Terms:
    """The seller's terms: days of grace after a failed renewal, days from a reminder to the end (0: no reminder)."""

    grace_days: int = 1
    remind_days: int = 3

    @property
    def grace(self) -> timedelta:
        """The time of grace after a failed renewal."""
        return timedelta(days=self.grace_days)


@dataclass(frozen=True, slots=True)
class SubscriptionStatus:
    """A subscription's state at a moment, and the date at which time alone changes it (None: it stays)."""

    state: SubscriptionState
    check_at: datetime | None
    is_reminder_due: bool = False


def charge_order(charge: Charge) -> tuple[datetime, str]:
    """Return a charge's sort key in a chain: date, then id.

    The date alone is no order, because Telegram's dates are whole seconds (Bot API).
    """
    return charge.paid_at, charge.id


def subscription_status(chain: Chain, terms: Terms, now: datetime) -> SubscriptionStatus:
    """Return a chain's status at `now`: the state by its newest charge or change, or ended once its time is over."""
    state, paid = chain.telegram_state, chain.paid
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
    """List a chain's paid periods whose renewal has failed: each gets grace, even if Telegram renewed it later."""
    failed = []
    for change in chain.changes:
        if change.state is SubscriptionState.FAILED:
            before = [period for period in chain.periods if not is_charge_after_change(period.charge, change)]
            if before and before[-1].charge.is_paid:
                failed.append(before[-1])
    return failed


def is_charge_after_change(charge: Charge, change: Change) -> bool:
    """Tell whether a charge came after a change in its chain, by update ids if they tell, else by dates."""
    if (ahead := _update_ids_ahead(charge, change)) is not None:
        return ahead > 0
    is_of_ledger = charge.update_id is None or change.update_id is None
    is_failure = change.state is SubscriptionState.FAILED
    if is_of_ledger and is_failure and change.recorded_at - charge.paid_at < UPDATE_LIFE:
        # Only the ledger tells of the charge: it has made good a failure of the same day.
        return True
    return is_change_before_charge(change, charge)


def is_change_before_charge(change: Change, charge: Charge) -> bool:
    """Tell whether a change came before a charge of any chain, by update ids if they tell, else by dates.

    A charge recorded before the change came before it, however far Telegram's clock and ours are apart.
    """
    if (ahead := _update_ids_ahead(charge, change)) is not None:
        return ahead > 0
    return min(charge.paid_at, charge.recorded_at) > change.recorded_at


def _update_ids_ahead(charge: Charge, change: Change) -> int | None:
    """Return the update id of a charge less that of a change; None: the ids tell no order."""
    if charge.update_id is None or change.update_id is None:
        return None
    ahead = charge.update_id - change.update_id
    is_near = abs(ahead) < UPDATE_IDS_NEAR and abs(charge.recorded_at - change.recorded_at) < UPDATE_IDS_LIFE
    return ahead if is_near else None
