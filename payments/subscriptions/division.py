"""X"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from db.tables import SubscriptionState
from entitlements.fold import SLACK
from payments.audit.facts import Change
from payments.subscriptions.chain import PERIOD, TRIED, Chain, Charge, Period, is_after, place

EARLY_MAX: Final = timedelta(days=23)
"""What is paid longer than that before a subscription's end does not renew it: the charge before is days old."""

NEARER: Final = PERIOD / 2
"""How much nearer to its end a charge must be to renew what was given back, not another one."""

ECHO: Final = timedelta(hours=1)
"""How near to a change of the desk's own the same one is told by Telegram, if it tells of it at all."""


def divide(charges: Sequence[Charge], changes: Sequence[Change]) -> list[Chain]:
    """Return the subscriptions that a user's charges on one payload belong to, by the date of their first.

    A link may be paid twice. A charge begins another one when Telegram says so, when there is none, or when only the
    ledger has told of it and it is paid long before any end, or when all others are over; any other renews the one
    whose period ends nearest to it. An end that is unknown is estimated: the later of the charge's date and the end
    before it, plus the period.
    """
    chains: list[Chain] = []
    told = _with_echoes(sorted(changes, key=lambda each: (each.recorded_at, each.update_id or 0, each.id)))
    for charge in sorted(charges, key=place):
        renewed = _renewed(chains, charge, told)
        before = charge.paid_at if renewed is None else max(charge.paid_at, renewed.ends_at)
        period = Period(charge, charge.ends_at or before + PERIOD)
        if renewed is None:
            chains.append(Chain([period]))
        else:
            renewed.periods.append(period)
    for change in told:
        _changed(chains, change).changes.append(change)
    return chains


def _renewed(chains: Sequence[Chain], charge: Charge, told: Sequence[Change]) -> Chain | None:
    """Return the subscription that a charge renews; None: it begins one.

    What was given back or cancelled is to be renewed no more: near to its end is also near to that of a twin that is.
    """
    if charge.is_first:
        return None
    if charge.is_first is None:
        chains = [each for each in chains if not _was_over(each, chains, charge, told)]
    if not chains:
        return None
    nearest = chains[0] if len(chains) == 1 else min(chains, key=lambda each: _distance(each, chains, charge, told))
    is_early = charge.is_first is None and charge.paid_at < nearest.ends_at - EARLY_MAX
    return None if is_early else nearest


def _distance(chain: Chain, chains: Sequence[Chain], charge: Charge, told: Sequence[Change]) -> timedelta:
    """Return how far a charge is from renewing a subscription: the less, the likelier it does."""
    is_to_renew = not chain.is_given_back and _said_before(chain, chains, charge, told) != SubscriptionState.CANCELED
    return abs(chain.ends_at - charge.paid_at) + (timedelta() if is_to_renew else NEARER)


def _said_before(chain: Chain, chains: Sequence[Chain], charge: Charge, told: Sequence[Change]) -> SubscriptionState:
    """Return what Telegram had a subscription as, as far as it had told, when a charge was paid."""
    before = [each for each in told if is_after(charge, each) and _changed(chains, each) is chain]
    return Chain(chain.periods, before).said


def _was_over(chain: Chain, chains: Sequence[Chain], charge: Charge, told: Sequence[Change]) -> bool:
    """Tell whether nothing could renew a subscription any more when a charge that only the ledger tells of was paid.

    Of a silence nothing follows, however long it is: the charge between may not be known yet.
    """
    kept = [period.charge for period in chain.periods if not _was_given_back(period.charge, charge.paid_at)]
    if not kept:
        return True
    said = _said_before(chain, chains, charge, told)
    after = {SubscriptionState.CANCELED: SLACK, SubscriptionState.FAILED: TRIED}.get(said)
    return after is not None and charge.paid_at > chain.ends_at + after


def _was_given_back(charge: Charge, at: datetime) -> bool:
    return charge.is_given_back and (charge.given_back_at is None or charge.given_back_at < at)


def _with_echoes(told: Sequence[Change]) -> Sequence[Change]:
    """Return changes in the same order, with a charge in those that repeat what the desk has brought about itself.

    Telegram names no charge: what it tells of the one that was ended must not seem to be about another on its link.
    """
    own = [each for each in told if each.charge_id is not None]
    echoes: dict[int, Change] = {}
    for made in own:
        apart = {
            each.id: abs(each.recorded_at - made.recorded_at)
            for each in told
            if each.charge_id is None and each.state is made.state and each.id not in echoes
        }
        nearest = min(apart, key=lambda each: apart[each], default=None)
        if nearest is not None and apart[nearest] < ECHO:
            echoes[nearest] = made
    return [replace(each, charge_id=echoes[each.id].charge_id) if each.id in echoes else each for each in told]


def _changed(chains: Sequence[Chain], change: Change) -> Chain:
    """Return the subscription that a change is about.

    Telegram names none: it is the newest that had begun by then and whose state it can change, and one that was given
    back only if there is no other.
    """
    if change.charge_id is not None:
        for chain in chains:
            if any(period.charge.id == change.charge_id for period in chain.periods):
                return chain
    begun = [chain for chain in chains if not is_after(chain.first, change)]
    kept = [chain for chain in begun if not chain.is_given_back]
    changed = [chain for chain in kept if _may_change(chain, change)]
    return (changed or kept or begun or chains[:1])[-1]


def _may_change(chain: Chain, change: Change) -> bool:
    """Tell whether a state is news of a subscription: what is cancelled is taken up again before anything else."""
    before = [period for period in chain.periods if not is_after(period.charge, change)]
    is_canceled = Chain(before, chain.changes).said is SubscriptionState.CANCELED
    return is_canceled is (change.state is SubscriptionState.ACTIVE)
