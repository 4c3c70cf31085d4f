from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payments.audit.facts import ChargeFact, Person, RefundFact
from payments.ledger.rows import NANOSTARS, UNKNOWN_KIND, read_row
from tests.support.ledger import other_row, row
from tests.support.money import SIGNER, charge, refund


def test_a_payment_and_its_refund_are_two_rows_of_one_id() -> None:
    charged = charge()
    paid, back = read_row(row(charged), SIGNER), read_row(row(refund(charged)), SIGNER)
    assert paid.fact == replace(charged, person=replace(charged.person, language_code=None))
    assert isinstance(back.fact, RefundFact)
    assert (paid.event_id, back.event_id) == ("charge-1", "refund:charge-1")
    assert paid.key != back.key
    assert (paid.nanostars, back.nanostars) == (200 * NANOSTARS, -200 * NANOSTARS)
    assert paid.is_invoice
    assert back.is_invoice


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        (lambda said: said["source"].update(subscription_period=2_592_000), (True, None)),
        (dict[str, Any].copy, (False, False)),
        (lambda said: said["source"].update(paid_media_payload=said["source"].pop("invoice_payload")), (None, None)),
    ],
    ids=["subscription", "once", "odd form"],
)
def test_unsaid_facts_of_a_subscription_row_are_unknown(
    change: Callable[[dict[str, Any]], object], flags: tuple[bool | None, bool | None]
) -> None:
    said = row(charge())
    change(said)
    fact = read_row(said, SIGNER).fact
    assert isinstance(fact, ChargeFact)
    assert (fact.is_recurring, fact.is_first_recurring, fact.subscription_expires_at) == (*flags, None)


def test_a_row_of_another_kind_is_named_as_telegram_names_it() -> None:
    assert read_row(other_row(kind="fragment"), SIGNER).kind == "fragment"
    assert read_row(row(charge(), transaction_type="premium_purchase"), SIGNER).kind == "premium_purchase"
    assert read_row(other_row(kind="x" * 41), SIGNER).kind == UNKNOWN_KIND
    assert read_row({**other_row(), "receiver": {"type": 7}}, SIGNER).kind == UNKNOWN_KIND


def test_a_fraction_of_a_star_counts_in_the_balance() -> None:
    said = other_row() | {"nanostar_amount": 5}
    assert read_row(said, SIGNER).nanostars == -(5 * NANOSTARS + 5)


@pytest.mark.parametrize("payload", ["a\0b", "a\ud800b", "x" * 1025])
def test_a_payload_that_no_database_takes_is_found_before_it_is_asked(payload: str) -> None:
    said = read_row(row(charge(payload=payload)), SIGNER)
    assert said.fact is None
    assert said.problem is not None
    assert said.problem.startswith("invoice_payload")
    assert (said.event_id, said.nanostars) == ("charge-1", 200 * NANOSTARS)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = ("id", "amount", "nanostar_amount", "date", "source", "receiver")
_PARTNER = ("type", "transaction_type", "user", "invoice_payload", "affiliate", "subscription_period")


@settings(max_examples=150)
@given(
    changes=st.dictionaries(st.sampled_from(_FIELDS), _JSON, max_size=2),
    partner=st.dictionaries(st.sampled_from(_PARTNER), _JSON, max_size=2),
)
def test_no_row_is_refused_whatever_it_holds(changes: dict[str, Any], partner: dict[str, Any]) -> None:
    said = row(charge())
    said["source"] |= partner
    read = read_row(said | changes, SIGNER)
    assert read == read_row(said | changes, SIGNER)
    assert read.fact is None or read.fact.charge_id
    if not changes and not partner:
        assert read.problem is None


def test_unreadable_row_keeps_its_own_key() -> None:
    no_rows: list[object] = [None, [], "row", {}, {"id": "x"}]
    read = [read_row(said, SIGNER) for said in no_rows]
    assert all(each.problem for each in read)
    assert len({each.key for each in read}) == 5


def test_a_date_is_in_utc() -> None:
    fact = read_row(row(charge(payer=Person(7))) | {"date": 0}, SIGNER).fact
    assert fact is not None
    assert fact.happened_at == datetime(1970, 1, 1, tzinfo=UTC)
