import re
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.states import SubscriptionState
from payments.audit.facts import ChargeFact, Person, RefundFact, SubscriptionFact
from payments.errors import UnreadableMoneyError
from payments.recording.updates import must_be_recorded, read_fact
from tests.support.clock import START
from tests.support.money import BUYER, charge, charge_update, refund, refund_update, subscription_update

CHARGE = charge("stx" + "x" * 130, "auto", ends_at=datetime(2026, 3, 31, 12, tzinfo=UTC))
CHARGE_UPDATE = charge_update(CHARGE)
REFUND_UPDATE = refund_update(refund(CHARGE))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
# Every place where Telegram might put something that is new to us, and what it might be called.
places = st.sampled_from(
    [(), ("message",), ("message", "from"), ("message", "chat"), ("message", "successful_payment")]
)
new_fields = st.dictionaries(st.text(min_size=1).map("new_{}".format), json_values, min_size=1, max_size=3)


def _changed(update: dict[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    changed = deepcopy(update)
    place = changed
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed


@pytest.mark.criterion("C1", "C2", "C6")
def test_a_charge_reads_as_telegram_tells_it() -> None:
    assert must_be_recorded(CHARGE_UPDATE)
    assert read_fact(CHARGE_UPDATE) == CHARGE
    first = _changed(CHARGE_UPDATE, ("message", "successful_payment", "is_first_recurring"), True)
    assert read_fact(first) == replace(CHARGE, is_first_recurring=True)
    one_time = charge()
    assert read_fact(charge_update(one_time)) == one_time


@pytest.mark.criterion("R1")
def test_the_person_of_a_refund_is_the_chat_and_never_the_sender() -> None:
    assert must_be_recorded(REFUND_UPDATE)
    assert REFUND_UPDATE["message"]["from"]["id"] != BUYER.telegram_id
    # The chat tells no language.
    assert read_fact(REFUND_UPDATE) == RefundFact(
        CHARGE.charge_id, Person(BUYER.telegram_id, "buyer"), 150, "XTR", START
    )
    assert read_fact(_changed(REFUND_UPDATE, ("message", "from"), ...)).person.telegram_id == BUYER.telegram_id


@pytest.mark.parametrize(
    "update",
    [
        {"update_id": 1},
        {"update_id": 1, "message": {"text": "successful_payment"}},
        {"update_id": 1, "message": "successful_payment"},
        {"update_id": 1, "pre_checkout_query": {}},
    ],
    ids=["empty", "text", "odd", "query"],
)
def test_update_without_money_need_not_be_recorded(update: dict[str, Any]) -> None:
    assert not must_be_recorded(update)


@pytest.mark.criterion("C1")
@given(places, new_fields)
def test_unknown_fields_never_hide_a_payment(place: tuple[str, ...], fields: dict[str, Any]) -> None:
    changed = CHARGE_UPDATE
    for name, value in fields.items():
        changed = _changed(changed, (*place, name), value)
    assert must_be_recorded(changed)
    assert read_fact(changed) == CHARGE


@pytest.mark.criterion("C1")
@given(
    st.sampled_from(["username", "language_code"]),
    json_values | st.just("nul\0") | st.just("lone \ud800") | st.just("x" * 65) | st.just("line\nbreak"),
)
def test_an_odd_name_never_hides_a_payment(field: str, value: object) -> None:
    fact = read_fact(_changed(CHARGE_UPDATE, ("message", "from", field), value))
    assert fact == replace(CHARGE, person=fact.person)
    kept = {"username": fact.person.username, "language_code": fact.person.language_code}[field]
    assert kept is None or (kept == value and re.fullmatch("[ -~]{0,64}", kept))


PAYMENT = ("message", "successful_payment")
REFUND = ("message", "refunded_payment")
SECRET = "do-not-quote-me"

wrong_charges = [
    (("message", "date"), ...),
    (("message", "date"), "1772366400"),
    (("message", "date"), -1),
    (("message", "date"), 253_402_300_800),
    (("message", "from"), ...),
    (("message", "from"), SECRET),
    (("message", "from", "id"), ...),
    (("message", "from", "id"), "5001"),
    (("message", "from", "id"), True),
    (("message", "from", "id"), 0),
    (("message", "from", "id"), 2**52),
    (PAYMENT, None),
    (PAYMENT, [SECRET]),
    ((*PAYMENT, "currency"), ...),
    ((*PAYMENT, "currency"), "xtr"),
    ((*PAYMENT, "currency"), "XTR\n"),
    ((*PAYMENT, "currency"), "XTRX"),
    ((*PAYMENT, "total_amount"), ...),
    ((*PAYMENT, "total_amount"), 0),
    ((*PAYMENT, "total_amount"), -200),
    ((*PAYMENT, "total_amount"), 2**31),
    ((*PAYMENT, "total_amount"), 200.0),
    ((*PAYMENT, "total_amount"), "200"),
    ((*PAYMENT, "telegram_payment_charge_id"), ...),
    ((*PAYMENT, "telegram_payment_charge_id"), ""),
    ((*PAYMENT, "telegram_payment_charge_id"), SECRET + "\0"),
    ((*PAYMENT, "telegram_payment_charge_id"), SECRET + "\udfff"),
    ((*PAYMENT, "telegram_payment_charge_id"), SECRET * 100),
    ((*PAYMENT, "invoice_payload"), ...),
    ((*PAYMENT, "invoice_payload"), 7),
    ((*PAYMENT, "invoice_payload"), SECRET + "\0"),
    ((*PAYMENT, "invoice_payload"), SECRET + "\ud800"),
    ((*PAYMENT, "invoice_payload"), SECRET * 100),
    ((*PAYMENT, "is_recurring"), "yes"),
    ((*PAYMENT, "subscription_expiration_date"), 2**63),
]
wrong_refunds = [
    (("message", "date"), ...),
    (("message", "chat"), ...),
    (("message", "chat", "id"), -1009),
    (REFUND, SECRET),
    ((*REFUND, "total_amount"), ...),
    ((*REFUND, "currency"), SECRET),
    ((*REFUND, "telegram_payment_charge_id"), SECRET + "\0"),
]


@pytest.mark.criterion("E3", "E4")
@pytest.mark.parametrize(
    ("update", "path", "value"),
    [(CHARGE_UPDATE, *wrong) for wrong in wrong_charges] + [(REFUND_UPDATE, *wrong) for wrong in wrong_refunds],
)
def test_wrong_field_of_a_payment_is_named_and_not_quoted(
    update: dict[str, Any], path: tuple[str, ...], value: object
) -> None:
    changed = _changed(update, path, value)
    assert must_be_recorded(changed)
    with pytest.raises(UnreadableMoneyError) as refused:
        read_fact(changed)
    assert ".".join(path[1:]) in str(refused.value)
    assert SECRET not in str(refused.value)
    # Nor by a cause that a traceback would show.
    assert refused.value.__suppress_context__


@given(st.sampled_from([CHARGE_UPDATE, REFUND_UPDATE]), st.data())
def test_any_value_in_any_field_is_read_or_refused(update: dict[str, Any], data: st.DataObject) -> None:
    money = "successful_payment" if "successful_payment" in update["message"] else "refunded_payment"
    path = data.draw(
        st.sampled_from(
            [("message", key) for key in update["message"]]
            + [("message", money, key) for key in update["message"][money]]
        )
    )
    try:
        fact = read_fact(_changed(update, path, data.draw(json_values)))
    except UnreadableMoneyError:
        return
    assert isinstance(fact, ChargeFact | RefundFact)
    fact.charge_id.encode()
    assert "\0" not in fact.charge_id
    assert 0 < fact.amount < 2**31


@pytest.mark.criterion("N3")
@pytest.mark.parametrize("state", ["active", "canceled", "failed"])
def test_a_subscriptions_state_reads_as_telegram_tells_it(state: str) -> None:
    update = subscription_update(state, "any payload", 7)
    assert must_be_recorded(update)
    assert read_fact(update) == SubscriptionFact(BUYER, "any payload", SubscriptionState(state), 7)


@pytest.mark.criterion("N3", "E3", "E4")
@pytest.mark.parametrize(
    "told",
    [
        None,
        "canceled",
        {"invoice_payload": "p", "state": "canceled"},
        {"user": {"id": 5001}, "state": "canceled"},
        {"user": {"id": 5001}, "invoice_payload": "p"},
        {"user": {"id": 5001}, "invoice_payload": "p", "state": "ended"},
        {"user": {"id": 5001}, "invoice_payload": "nul\0", "state": "active"},
        {"user": {"id": "5001"}, "invoice_payload": "p", "state": "active"},
        {"user": {"id": 2**60}, "invoice_payload": "p", "state": "active"},
    ],
)
def test_an_unreadable_state_is_refused(told: object) -> None:
    assert must_be_recorded({"update_id": 7, "subscription": told})
    with pytest.raises(UnreadableMoneyError):
        read_fact({"update_id": 7, "subscription": told})
