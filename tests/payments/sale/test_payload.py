import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from db.limits import AMOUNT_MAX, TELEGRAM_ID_MAX
from payments.sale.payload import (
    CODE_PATTERN,
    DAYS_MAX,
    PAYLOAD_BYTES_MAX,
    Order,
    PayloadError,
    PayloadSigner,
    PayloadVerdict,
    ReadPayload,
)

TOKEN = "123456:the-token-in-use"
LEAKED_TOKEN = "123456:the-token-that-leaked"
SIGNER = PayloadSigner(TOKEN)
AFTER_LEAK = PayloadSigner(TOKEN, [LEAKED_TOKEN])

MONTH = Order("premium_monthly", 30, False, 200, "XTR", 987654321, "00112233445566778899aabb")
MONTH_PAYLOAD = SIGNER.sign(MONTH)
LONGEST = Order("p" * 20, DAYS_MAX, False, AMOUNT_MAX, "USD", TELEGRAM_ID_MAX)

codes = st.from_regex(CODE_PATTERN, fullmatch=True)
days = st.none() | st.integers(1, DAYS_MAX)
subscription_and_days = st.tuples(st.just(True), st.none()) | st.tuples(st.just(False), days)
orders = st.builds(
    lambda plan, term, amount, currency, buyer, nonce: Order(plan, term[1], term[0], amount, currency, buyer, nonce),
    codes,
    subscription_and_days,
    st.integers(1, AMOUNT_MAX),
    st.from_regex("[A-Z]{3}", fullmatch=True),
    st.integers(1, TELEGRAM_ID_MAX),
    st.binary(min_size=12, max_size=12).map(bytes.hex),
)
# Few values for each field, so that neighbours which could be taken for one another are common.
near_orders = st.builds(
    lambda plan, term, amount, buyer: Order(plan, term[1], term[0], amount, "XTR", buyer, "00" * 12),
    st.sampled_from(["1", "11", "ever", "sub"]),
    st.sampled_from([(True, None), (False, None), (False, 1), (False, 11)]),
    st.sampled_from([1, 11, 111]),
    st.sampled_from([1, 11, 111]),
)


@given(orders)
def test_signed_order_reads_back_whole(order: Order) -> None:
    payload = SIGNER.sign(order)
    assert SIGNER.read(payload) == ReadPayload(PayloadVerdict.VALID, order)
    assert payload.isascii()
    assert len(payload) <= PAYLOAD_BYTES_MAX


def test_the_form_of_a_payload_stays_for_as_long_as_subscriptions_renew_under_it() -> None:
    # Worked out with openssl: dgst -sha256 -mac HMAC, the token under the label first, then the body under the result.
    body = "sl1:premium_monthly:30:200:XTR:987654321:00112233445566778899aabb"
    assert SIGNER.sign(MONTH) == f"{body}:a37617239d587ec3a80a3e7077afe836"
    assert replace(MONTH, days=None).body == body.replace(":30:", ":ever:")
    assert replace(MONTH, days=None, subscription=True).body == body.replace(":30:", ":sub:")


def test_the_longest_order_takes_the_120_bytes_that_the_docstring_adds_up() -> None:
    assert len(SIGNER.sign(LONGEST)) == 3 + 20 + 5 + 10 + 3 + 16 + 24 + 32 + 7 == 120


@pytest.mark.criterion("S1")
@given(orders, st.data())
def test_no_single_edit_of_a_payload_is_accepted(order: Order, data: st.DataObject) -> None:
    payload = SIGNER.sign(order)
    at = data.draw(st.integers(0, len(payload) - 1))
    char = data.draw(st.characters() | st.characters(max_codepoint=127))
    for edited in (
        payload[:at] + char + payload[at + 1 :],
        payload[:at] + payload[at + 1 :],
        payload[:at] + char + payload[at:],
    ):
        if edited != payload:
            reading = SIGNER.read(edited)
            assert reading.verdict in {PayloadVerdict.DAMAGED, PayloadVerdict.FOREIGN}
            assert reading.order is None


@pytest.mark.criterion("S1")
def test_every_flipped_bit_of_a_payload_is_refused() -> None:
    raw = MONTH_PAYLOAD.encode()
    for at in range(8 * len(raw)):
        flipped = bytearray(raw)
        flipped[at // 8] ^= 1 << at % 8
        assert SIGNER.read(flipped.decode("latin-1")).order is None


@pytest.mark.criterion("S1", "C4")
@given(orders, orders)
def test_a_signature_serves_no_other_order(signed: Order, forged: Order) -> None:
    payload = f"{forged.body}:{SIGNER.sign(signed).rpartition(':')[2]}"
    if forged != signed:
        assert SIGNER.read(payload) == ReadPayload(PayloadVerdict.DAMAGED, claimed=forged)


@given(near_orders, near_orders)
def test_two_orders_never_share_a_payload(one: Order, other: Order) -> None:
    assert (SIGNER.sign(one) == SIGNER.sign(other)) == (one == other)


@pytest.mark.criterion("S1")
@given(orders, st.text(min_size=1).filter(str.strip))
@example(MONTH, TOKEN.partition(":")[2])
@example(MONTH, "654321:" + TOKEN.partition(":")[2])
@example(MONTH, TOKEN + " ")
def test_another_tokens_payload_is_only_a_claim(order: Order, token: str) -> None:
    if token != TOKEN:
        assert SIGNER.read(PayloadSigner(token).sign(order)) == ReadPayload(PayloadVerdict.DAMAGED, claimed=order)


@pytest.mark.criterion("S1")
@given(orders)
def test_a_replaced_token_is_told_from_the_one_in_use(order: Order) -> None:
    assert AFTER_LEAK.read(PayloadSigner(LEAKED_TOKEN).sign(order)) == ReadPayload(PayloadVerdict.OLD, order)
    assert AFTER_LEAK.sign(order) == SIGNER.sign(order)
    assert AFTER_LEAK.read(SIGNER.sign(order)) == ReadPayload(PayloadVerdict.VALID, order)


@pytest.mark.criterion("S1")
@pytest.mark.parametrize(
    ("part", "rewritten"),
    [
        (":30:", ":030:"),
        (":30:", ":+30:"),
        (":30:", ":3_0:"),
        (":30:", ":٣٠:"),
        (":200:", ":0200:"),
        (":200:", ": 200:"),
        (":XTR:", ":xtr:"),
        (":00112233445566778899aabb:", ":00112233445566778899AABB:"),
        ("sl1:", "SL1:"),
        ("sl1:", " sl1:"),
    ],
)
def test_another_spelling_of_the_same_order_is_refused(part: str, rewritten: str) -> None:
    assert part in MONTH_PAYLOAD
    assert SIGNER.read(MONTH_PAYLOAD.replace(part, rewritten)).order is None


@pytest.mark.criterion("S1")
def test_the_signature_itself_has_one_spelling() -> None:
    body, _, signature = MONTH_PAYLOAD.rpartition(":")
    assert signature != signature.upper()
    assert SIGNER.read(f"{body}:{signature.upper()}").order is None
    assert SIGNER.read(MONTH_PAYLOAD + "\n").order is None


@given(st.text() | st.from_regex(r"sl[0-9]{1,3}:.*", fullmatch=True) | st.text(st.characters(categories=["Cs"])))
def test_any_text_can_be_read(text: str) -> None:
    assert AFTER_LEAK.read(text).order is None


@pytest.mark.parametrize(
    "text", ["", "\0", "\ud800", "order-17", "sl1", "sl:x", "sl1:\0", "sl1:\ud800", "sl1:é", "x" * 10_000_000]
)
def test_another_form_is_foreign(text: str) -> None:
    assert SIGNER.read(text) == ReadPayload(PayloadVerdict.FOREIGN)


def test_more_than_telegram_carries_is_foreign() -> None:
    assert SIGNER.read("sl1:" + "x" * 124).verdict is PayloadVerdict.DAMAGED
    assert SIGNER.read("sl1:" + "x" * 125).verdict is PayloadVerdict.FOREIGN


@pytest.mark.parametrize("text", ["sl1:", "sl1:premium", MONTH_PAYLOAD[:-33], MONTH_PAYLOAD.replace("sl1:", "sl2:")])
def test_our_form_that_cannot_be_read_is_damaged_and_claims_nothing(text: str) -> None:
    assert SIGNER.read(text) == ReadPayload(PayloadVerdict.DAMAGED)


@pytest.mark.parametrize(
    "change",
    [
        {"plan": ""},
        {"plan": "p" * 21},
        {"plan": "Premium"},
        {"plan": "a:30"},
        {"plan": "\ud800"},
        {"days": 0},
        {"days": DAYS_MAX + 1},
        {"days": True},
        {"subscription": True},
        {"amount": 0},
        {"amount": -200},
        {"amount": AMOUNT_MAX + 1},
        {"currency": "xtr"},
        {"currency": "XTRX"},
        {"buyer_telegram_id": 0},
        {"buyer_telegram_id": TELEGRAM_ID_MAX + 1},
        {"nonce": ""},
        {"nonce": "0011"},
    ],
    ids=str,
)
def test_an_order_that_would_not_read_back_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(PayloadError, match=re.escape(repr(next(iter(change.values()))))):
        replace(MONTH, **change)


@pytest.mark.criterion("S1")
def test_an_amount_past_the_bound_is_no_claim() -> None:
    assert SIGNER.read(MONTH_PAYLOAD.replace(":200:", f":{AMOUNT_MAX + 1}:")) == ReadPayload(PayloadVerdict.DAMAGED)


def test_two_invoices_for_the_same_thing_differ() -> None:
    first, second = (Order("premium", None, False, 1, "XTR", 5) for _ in range(2))
    assert SIGNER.sign(first) != SIGNER.sign(second)


@pytest.mark.criterion("S1")
@pytest.mark.parametrize(("token", "old_tokens"), [("", []), (" ", []), (TOKEN, [LEAKED_TOKEN, ""])])
def test_an_empty_token_is_refused(token: str, old_tokens: list[str]) -> None:
    with pytest.raises(PayloadError, match="empty"):
        PayloadSigner(token, old_tokens)


@pytest.mark.criterion("S7")
def test_a_signer_shows_neither_token_nor_key() -> None:
    assert TOKEN not in repr(vars(SIGNER))
    assert repr(SIGNER._key) not in repr(SIGNER)
