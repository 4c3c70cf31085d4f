"""Divides a user's charges on one payload into subscriptions, each a chain of charges with its changes. Pure functions.

A buyer may pay a link twice, and Telegram names the subscription in neither a renewal nor a change of state: the dates,
Telegram's flags and the refunds decide.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from db.states import SubscriptionState
from entitlements.fold import SLACK
from payments.audit.facts import Change
from payments.subscriptions.chain import PERIOD, TRIED, Chain, Charge, Period, charge_order, is_charge_after_change

EARLY_MAX: Final = timedelta(days=23)
"""A charge so long before a subscription's end begins another one, because the charge before is only days old."""

NEARER: Final = PERIOD / 2
"""A charge renews a refunded or canceled subscription only if that one's end is so much nearer than any other end."""

ECHO: Final = timedelta(hours=1)
"""Within this time Telegram may send an update that repeats a change of the desk's own."""


def divide_into_chains(charges: Sequence[Charge], changes: Sequence[Change]) -> list[Chain]:
    """Divide a user's charges on one payload into chains, by the date of their first charges.

    A charge begins a subscription when Telegram says so, when it is the first one, or, if only the ledger tells of it,
    when it is long before any end or all other subscriptions are over. Any other charge renews the subscription whose
    period ends nearest to it. The estimate of an unknown end is the later of the charge's date and the end before it,
    plus the period.
    """
    chains: list[Chain] = []
    told = _mark_echoes(sorted(changes, key=lambda each: (each.recorded_at, each.update_id or 0, each.id)))
    for charge in sorted(charges, key=charge_order):
        renewed = _find_renewed_chain(chains, charge, told)
        before = charge.paid_at if renewed is None else max(charge.paid_at, renewed.ends_at)
        period = Period(charge, charge.ends_at or before + PERIOD)
        if renewed is None:
            chains.append(Chain([period]))
        else:
            renewed.periods.append(period)
    for change in told:
        _find_changed_chain(chains, change).changes.append(change)
    return chains


def _find_renewed_chain(chains: Sequence[Chain], charge: Charge, told: Sequence[Change]) -> Chain | None:
    """Find the chain that a charge renews, among the chains before it; None: the charge begins a chain.

    A refunded or canceled subscription ranks behind its twins, because its renewal is over and their ends may be as
    near to the charge.
    """
    if charge.is_first:
        return None
    if charge.is_first is None:
        chains = [each for each in chains if not _was_over_before_charge(each, chains, charge, told)]
    if not chains:
        return None
    nearest = (
        chains[0] if len(chains) == 1 else min(chains, key=lambda each: _renewal_distance(each, chains, charge, told))
    )
    is_early = charge.is_first is None and charge.paid_at < nearest.ends_at - EARLY_MAX
    return None if is_early else nearest


def _renewal_distance(chain: Chain, chains: Sequence[Chain], charge: Charge, told: Sequence[Change]) -> timedelta:
    """Return the distance between a charge and a chain's end: the smaller, the likelier the charge renews the chain."""
    is_to_renew = (
        not chain.is_refunded and _state_before_charge(chain, chains, charge, told) != SubscriptionState.CANCELED
    )
    return abs(chain.ends_at - charge.paid_at) + (timedelta() if is_to_renew else NEARER)


def _state_before_charge(
    chain: Chain, chains: Sequence[Chain], charge: Charge, told: Sequence[Change]
) -> SubscriptionState:
    """Return a chain's state at Telegram at the time of a charge."""
    before = [
        each for each in told if is_charge_after_change(charge, each) and _find_changed_chain(chains, each) is chain
    ]
    return Chain(chain.periods, before).telegram_state


def _was_over_before_charge(chain: Chain, chains: Sequence[Chain], charge: Charge, told: Sequence[Change]) -> bool:
    """Tell whether a chain was over at the time of a charge that only the ledger tells of.

    A long silence leaves the chain running, because a charge in between may still be unknown.
    """
    kept = [period.charge for period in chain.periods if not _was_refunded_by(period.charge, charge.paid_at)]
    if not kept:
        return True
    said = _state_before_charge(chain, chains, charge, told)
    after = {SubscriptionState.CANCELED: SLACK, SubscriptionState.FAILED: TRIED}.get(said)
    return after is not None and charge.paid_at > chain.ends_at + after


def _was_refunded_by(charge: Charge, at: datetime) -> bool:
    """Tell whether a subscription charge has a refund from before a moment, or from an unknown time."""
    return charge.is_refunded and (charge.refunded_at is None or charge.refunded_at < at)


def _mark_echoes(told: Sequence[Change]) -> Sequence[Change]:
    """Give each echo of the desk's own change the charge id of that change; return all changes in their order.

    Telegram's update names no charge, and without the id the echo could seem to be about a twin on the same link.
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


def _find_changed_chain(chains: Sequence[Chain], change: Change) -> Chain:
    """Find the chain among twins on one link that a change is about.

    Telegram leaves open which subscription changed. Pick the newest that had started and whose state can change so;
    pick a refunded one only if there is no other.
    """
    if change.charge_id is not None:
        for chain in chains:
            if any(period.charge.id == change.charge_id for period in chain.periods):
                return chain
    begun = [chain for chain in chains if not is_charge_after_change(chain.first, change)]
    kept = [chain for chain in begun if not chain.is_refunded]
    changed = [chain for chain in kept if _is_news_of_chain(chain, change)]
    return (changed or kept or begun or chains[:1])[-1]


def _is_news_of_chain(chain: Chain, change: Change) -> bool:
    """Tell whether a change is possible for a chain: a canceled one can only resume, and any other cannot resume."""
    before = [period for period in chain.periods if not is_charge_after_change(period.charge, change)]
    is_canceled = Chain(before, chain.changes).telegram_state is SubscriptionState.CANCELED
    return is_canceled is (change.state is SubscriptionState.ACTIVE)
