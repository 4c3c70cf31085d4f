"""The pure rules of a subscription: its charges, their paid periods, and its status."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.states import SubscriptionState
from entitlements.fold import SLACK
from payments.audit.facts import Change
from payments.subscriptions.chain import UNHEARD, Charge, Terms, failed_periods, subscription_status
from payments.subscriptions.division import divide_into_chains
from tests.support.clock import START
from tests.support.subscription_facts import MONTH

TERMS = Terms()
FIRST = Charge(
    id="1",
    paid_at=START,
    recorded_at=START,
    ends_at=START + MONTH,
    is_first=True,
    update_id=10,
    is_paid=True,
    is_refunded=False,
)

_charges = st.lists(
    st.builds(
        Charge,
        id=st.uuids().map(str),
        paid_at=st.integers(0, 200).map(lambda days: START + timedelta(days=days)),
        recorded_at=st.just(START),
        ends_at=st.none() | st.integers(1, 60).map(lambda days: START + timedelta(days=days)),
        is_first=st.sampled_from([None, True, False]),
        update_id=st.none(),
        is_paid=st.booleans(),
        is_refunded=st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@given(_charges.flatmap(lambda charges: st.tuples(st.just(charges), st.permutations(charges))))
def test_the_order_in_which_charges_become_known_does_not_matter(orders: tuple[list[Charge], list[Charge]]) -> None:
    one, other = (divide_into_chains(charges, ()) for charges in orders)
    assert one == other
    assert sorted(period.charge.id for chain in one for period in chain.periods) == sorted(
        each.id for each in orders[0]
    )


@pytest.mark.parametrize(
    ("paid_after", "ends_after"),
    [(timedelta(0), 1), (timedelta(days=30), 2), (timedelta(days=20), 2), (timedelta(days=35), None)],
    ids=["at once", "at the end", "early", "late"],
)
def test_an_unknown_end_is_a_period_after_the_later_of_charge_and_end_before(
    paid_after: timedelta, ends_after: int | None
) -> None:
    renewal = replace(FIRST, id="2", paid_at=START + paid_after, ends_at=None, is_first=None, update_id=None)
    known = [FIRST, renewal] if paid_after else [replace(renewal, id="1")]
    [chain] = divide_into_chains(known, ())
    assert chain.ends_at == (START + MONTH * ends_after if ends_after else START + paid_after + MONTH)


def _change(state: str, update_id: int | None, hours: float = 0, number: int = 1) -> Change:
    at = START + timedelta(hours=hours)
    return Change(id=number, state=SubscriptionState(state), recorded_at=at, update_id=update_id)


def test_a_change_is_about_the_newest_subscription_that_had_begun() -> None:
    second = replace(FIRST, id="2", paid_at=START + timedelta(hours=2), update_id=20)
    chains = divide_into_chains([second, FIRST], [_change("canceled", 15, 3), _change("failed", 25, 3, 2)])
    assert [[change.state for change in chain.changes] for chain in chains] == [["canceled"], ["failed"]]
    own = replace(_change("canceled", None, 30), charge_id="1")
    assert [len(chain.changes) for chain in divide_into_chains([FIRST, second], [own])] == [1, 0]


@pytest.mark.parametrize(
    ("update_id", "hours", "is_known_over"),
    [(9, 1, True), (11, -1, False), (None, 23, True), (None, 25, False)],
    ids=["older update", "newer update", "the ledger, same day", "the ledger, a day later"],
)
def test_a_failure_counts_unless_a_charge_is_newer(update_id: int | None, hours: float, *, is_known_over: bool) -> None:
    charge = FIRST if update_id else replace(FIRST, update_id=None)
    [chain] = divide_into_chains([charge], [_change("failed", update_id or 11, hours)])
    assert (chain.current_change is None) is is_known_over
    assert (failed_periods(chain) == []) is is_known_over


def test_a_clock_of_ours_that_is_slow_makes_no_change_old() -> None:
    ahead = replace(FIRST, paid_at=START + timedelta(minutes=2), recorded_at=START)
    own = replace(_change("canceled", None, 0.01), charge_id="1")
    [chain] = divide_into_chains([ahead], [own])
    assert chain.current_change == own


@pytest.mark.parametrize("hours", [1, 24 * 7])
def test_ids_that_have_begun_anew_order_nothing(hours: float) -> None:
    [chain] = divide_into_chains([replace(FIRST, update_id=900_000_000)], [_change("failed", 2_000_001, hours)])
    assert chain.current_change is not None


@pytest.mark.parametrize(
    ("state", "is_paid", "over_after"),
    [
        (None, True, MONTH + UNHEARD),
        ("active", True, MONTH + UNHEARD),
        ("canceled", True, MONTH + SLACK),
        ("failed", True, MONTH + timedelta(days=1) + SLACK),
        ("canceled", False, timedelta()),
        ("failed", False, timedelta()),
    ],
)
def test_subscription_ends_when_its_time_is_over(state: str | None, over_after: timedelta, *, is_paid: bool) -> None:
    changes = [_change(state, 11)] if state else []
    [chain] = divide_into_chains([replace(FIRST, is_paid=is_paid)], changes)
    over_at = START + over_after
    assert subscription_status(chain, TERMS, over_at).state is SubscriptionState.ENDED
    assert subscription_status(chain, TERMS, over_at).check_at is None
    before = subscription_status(chain, TERMS, over_at - timedelta(seconds=1))
    assert before.state is (SubscriptionState(state or "active") if over_after else SubscriptionState.ENDED)
    assert before.check_at == (over_at if over_after else None)


def test_a_look_is_due_at_the_reminder_and_at_the_end() -> None:
    [chain] = divide_into_chains([FIRST], ())
    remind_at = START + MONTH - timedelta(days=3)
    first = subscription_status(chain, TERMS, START)
    assert (first.check_at, first.is_reminder_due) == (remind_at, False)
    assert subscription_status(chain, TERMS, remind_at).is_reminder_due
    assert not subscription_status(chain, TERMS, START + MONTH).is_reminder_due
    never = subscription_status(chain, Terms(remind_days=0), START)
    assert (never.check_at, never.is_reminder_due) == (START + MONTH + UNHEARD, False)


def _twin(seconds: float = 4, **facts: bool | None) -> Charge:
    at = START + timedelta(seconds=seconds)
    known = replace(FIRST, id="twin", paid_at=at, ends_at=at + MONTH, update_id=11, is_paid=False, is_refunded=True)
    return replace(known, **facts)  # type: ignore[arg-type]  # only the flags are handed in


def _renewal(seconds: float, name: str = "2", *, is_first: bool | None = False) -> Charge:
    at = START + MONTH + timedelta(seconds=seconds)
    ends_at = None if is_first is None else at + MONTH
    return replace(FIRST, id=name, paid_at=at, ends_at=ends_at, is_first=is_first, update_id=None)


def _ids(charges: list[Charge], changes: list[Change] | None = None) -> dict[str, list[str]]:
    chains = divide_into_chains(charges, changes or [])
    return {chain.first.id: [period.charge.id for period in chain.periods[1:]] for chain in chains}


@pytest.mark.parametrize("seconds", [-60, 0, 3, 60])
def test_a_renewal_is_not_that_of_a_twin_that_was_given_back(seconds: float) -> None:
    assert _ids([FIRST, _twin(), _renewal(seconds)]) == {"1": ["2"], "twin": []}
    assert _ids([_twin(-4), FIRST, _renewal(seconds)]) == {"1": ["2"], "twin": []}
    assert _ids([_twin(), _renewal(seconds)]) == {"twin": ["2"]}, "there is no other"


def test_a_twin_that_renews_although_it_was_given_back_is_seen() -> None:
    assert _ids([FIRST, _twin(), _renewal(0), _renewal(4, "twin-2")]) == {"1": ["2"], "twin": ["twin-2"]}


def test_a_change_is_not_that_of_a_twin_that_was_given_back() -> None:
    chains = divide_into_chains([FIRST, _twin()], [_change("failed", 30, 1)])
    assert {chain.first.id: [change.state for change in chain.changes] for chain in chains} == {
        "1": ["failed"],
        "twin": [],
    }
    [alone] = divide_into_chains([_twin()], [_change("canceled", 30, 1)])
    assert alone.current_change is not None


@pytest.mark.parametrize("is_refunded", [True, False])
def test_ledger_charge_long_before_the_end_renews_no_twin(*, is_refunded: bool) -> None:
    charges = [FIRST, _twin(is_first=None, is_refunded=is_refunded), _renewal(0, is_first=None)]
    charges = [replace(charge, ends_at=None, is_first=None, update_id=None) for charge in charges]
    assert _ids(charges) == {"1": ["2"], "twin": []}
    assert {chain.first.id: chain.ends_at for chain in divide_into_chains(charges, [])}["1"] == START + 2 * MONTH


def test_a_renewal_is_not_that_of_a_twin_that_was_cancelled() -> None:
    twin = _twin(is_paid=True, is_refunded=False)
    canceled = _change("canceled", 20, 24)
    renewal = replace(_renewal(4), recorded_at=START + MONTH)
    assert _ids([FIRST, twin, renewal], [canceled]) == {"1": ["2"], "twin": []}
    assert _ids([FIRST, twin, renewal]) == {"1": [], "twin": ["2"]}, "both were going to be renewed"


@pytest.mark.parametrize("minutes", [-1, 0, 1, 59])
def test_echo_of_the_desks_cancellation_is_not_taken_for_the_twin(minutes: float) -> None:
    own = replace(_change("canceled", None, 1, 7), charge_id="twin")
    echo = _change("canceled", 30, 1 + minutes / 60, 8)
    chains = divide_into_chains([FIRST, _twin()], [own, echo])
    assert {chain.first.id: chain.telegram_state for chain in chains} == {"1": "active", "twin": "canceled"}


def test_cancellation_by_the_buyer_beside_the_desks_own_counts() -> None:
    own = replace(_change("canceled", None, 1, 7), charge_id="twin")
    echo, later = _change("canceled", 30, 1.01, 8), _change("canceled", 31, 1.5, 9)
    for told in ([own, echo, later], [own, _change("canceled", 31, 2, 9)]):
        chains = divide_into_chains([FIRST, _twin()], told)
        assert {chain.first.id: chain.telegram_state for chain in chains} == {"1": "canceled", "twin": "canceled"}


def test_a_state_is_news_of_a_subscription_that_is_in_another() -> None:
    twin = _twin(is_paid=True, is_refunded=False)
    states = ["canceled", "canceled", "active", "canceled", "failed"]
    told = [_change(state, 20 + number, 24 + number, number) for number, state in enumerate(states)]
    said = [
        [chain.telegram_state for chain in divide_into_chains([FIRST, twin], told[:length])]
        for length in range(len(told) + 1)
    ]
    assert said[:3] == [["active", "active"], ["active", "canceled"], ["canceled", "canceled"]]
    assert said[3:] == [["canceled", "active"], ["canceled", "canceled"], ["canceled", "failed"]]


def test_each_cancellation_by_the_desk_has_its_own_echo() -> None:
    own = [
        replace(_change("canceled", None, 1 + n / 10, n), charge_id=name) for n, name in enumerate(["twin", "third"])
    ]
    echoes = [_change("canceled", 30, 1.01, 2), _change("canceled", 31, 1.3, 3)]
    chains = divide_into_chains([FIRST, _twin(), replace(_twin(8), id="third")], [*own, *echoes])
    assert {chain.first.id: chain.telegram_state for chain in chains} == {
        "1": "active",
        "twin": "canceled",
        "third": "canceled",
    }
