from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.limits import TELEGRAM_ID_MAX
from payments.sale.catalog_file import PlanTable, check_document
from payments.sale.payload import PAYLOAD_BYTES_MAX, Order, PayloadSigner

toml_values = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.text(st.characters(categories=["Cs"]))
    | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
plan_like = st.fixed_dictionaries(
    {},
    optional={
        "title": st.text(max_size=40),
        "description": st.text(max_size=40),
        "stars": st.integers(-1, 110_000) | st.sampled_from([1, 10_000, 10_001, 100_000, 100_001]),
        "days": st.integers(-1, 40_000) | st.sampled_from([1, 36_500, 36_501]),
        "entitlement": st.text("ab_9", max_size=22) | st.lists(st.text("ab", max_size=2), max_size=12),
        "prices": st.dictionaries(st.sampled_from(["USD", "JPY", "XTR"]), st.integers(-1, 2**33)),
        "subscription": st.booleans(),
        "retired": st.booleans(),
    },
)


@given(st.dictionaries(st.text() | st.just("plans"), toml_values | st.dictionaries(st.text(), toml_values)))
def test_any_document_is_answered_in_printable_sentences(document: dict[str, Any]) -> None:
    _, mistakes = check_document(document)
    assert mistakes
    assert all(line.isprintable() and ": " in line for line in mistakes)


@given(st.dictionaries(st.sampled_from([*PlanTable.model_fields, "nonsense"]), toml_values))
def test_no_value_of_a_setting_escapes_the_sentences(settings: dict[str, Any]) -> None:
    _, mistakes = check_document({"plans": {"odd": settings}})
    assert all(line.startswith("plans.odd.") and line.isprintable() for line in mistakes)
    assert len(mistakes) == len(set(mistakes))


@pytest.mark.criterion("C4")
@given(st.text("ab_9", max_size=22), plan_like)
def test_a_plan_that_passes_can_be_carried_by_a_payload_at_each_of_its_prices(
    code: str, settings: dict[str, Any]
) -> None:
    good = {"title": "Month", "description": "All", "stars": 200}
    tables, mistakes = check_document({"plans": {code: good | settings}})
    for table in [] if mistakes else tables.values():
        for currency, amount in {"XTR": table.stars, **table.prices}.items():
            order = Order(code, table.days, table.subscription, amount, currency, TELEGRAM_ID_MAX)
            assert len(PayloadSigner("1:token").sign(order)) <= PAYLOAD_BYTES_MAX
