"""The sandbox's account at Stripe, called over HTTP by a shop's program: as strict as Stripe."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from aiohttp import ClientSession
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.server import SandboxServer
from sandbox.settings import STRIPE_KEY
from sandbox.stripe.account import DECLINED_CARD, PAID_CARD, RETURNED, Account
from sandbox.stripe.api import KEYS_KEPT
from sandbox.stripe.errors import StripeRefusalError
from tests.support.clock import FakeClock

Json = dict[str, Any]
Stripe = Callable[..., Awaitable[tuple[int, Json]]]


@pytest.fixture
def stripe(server: SandboxServer, http: ClientSession) -> Stripe:
    """Give a function that calls Stripe: GET, or POST with a form; gives status and body."""

    async def call(path: str, form: Json | None = None, key: str | None = None) -> tuple[int, Json]:
        headers = {"Authorization": f"Bearer {STRIPE_KEY}"} | ({} if key is None else {"Idempotency-Key": key})
        method = "GET" if form is None else "POST"
        async with http.request(method, f"{server.url}/v1/{path}", data=form, headers=headers) as answer:
            return answer.status, await answer.json()

    return call


@pytest.fixture
def account(server: SandboxServer) -> Account:
    return server.world.stripe


async def method(stripe: Stripe, number: str = PAID_CARD) -> str:
    return str((await stripe("payment_methods", {"type": "card", "card[number]": number}))[1]["id"])


async def refused(answer: Awaitable[tuple[int, Json]]) -> tuple[int, str, str | None]:
    """Give the status, kind and code of a refusal."""
    status, body = await answer
    return status, body["error"]["type"], body["error"].get("code")


async def test_a_card_is_charged_and_its_charge_can_be_read(stripe: Stripe) -> None:
    form = {"amount": "499", "currency": "USD", "source": await method(stripe)}
    status, charge = await stripe("charges", form)
    assert (status, charge["status"], charge["paid"], charge["amount_refunded"]) == (200, "succeeded", True, 0)
    assert (charge["amount"], charge["currency"]) == (499, "usd")
    assert charge["payment_method_details"]["card"]["last4"] == "4242"
    assert await stripe(f"charges/{charge['id']}") == (200, charge)


async def test_a_declined_card_leaves_a_charge_that_has_failed(stripe: Stripe) -> None:
    form = {"amount": "499", "currency": "usd", "source": await method(stripe, DECLINED_CARD)}
    assert await refused(stripe("charges", form)) == (402, "card_error", "card_declined")
    [charge] = (await stripe("charges"))[1]["data"]
    assert (charge["status"], charge["paid"]) == ("failed", False)
    assert (await refused(stripe("refunds", {"charge": charge["id"]})))[0] == 400
    [event] = (await stripe("events"))[1]["data"]
    assert (event["type"], event["data"]["object"]["id"]) == ("charge.failed", charge["id"])


async def test_a_refund_says_why_and_whose_it_is_and_its_charge_sums_up(stripe: Stripe, account: Account) -> None:
    charge_id = account.charge(499, "usd")
    form = {"charge": charge_id, "amount": "100", "reason": "duplicate", "metadata[row]": "r:1"}
    _, refund = await stripe("refunds", form)
    assert (refund["amount"], refund["status"], refund["reason"]) == (100, "succeeded", "duplicate")
    assert refund["metadata"] == {"row": "r:1"}
    assert (await stripe(f"charges/{charge_id}"))[1]["amount_refunded"] == 100
    await stripe("refunds", {"charge": charge_id})
    _, charge = await stripe(f"charges/{charge_id}")
    assert (charge["amount_refunded"], charge["refunded"]) == (499, True)
    listed = (await stripe(f"refunds?charge={charge_id}"))[1]["data"]
    assert [each["amount"] for each in listed] == [399, 100]
    assert listed[1] == (await stripe(f"refunds/{refund['id']}"))[1] == refund


async def test_a_refund_may_name_the_payment_intent_of_its_charge(stripe: Stripe, account: Account) -> None:
    account.charge(499, "usd")
    charge_id = account.charge(499, "usd", payment_intent="pi_1")
    assert (await stripe("refunds", {"payment_intent": "pi_1"}))[1]["charge"] == charge_id
    assert (await refused(stripe("refunds", {"payment_intent": "pi_2"})))[2] == "resource_missing"
    assert [each["id"] for each in (await stripe("charges?payment_intent=pi_1"))[1]["data"]] == [charge_id]


async def test_wrong_calls_get_stripes_refusals(stripe: Stripe, account: Account) -> None:
    charge_id, disputed_id = account.charge(499, "usd"), account.charge(499, "usd")
    invalid = "invalid_request_error"
    account.open_dispute(disputed_id)
    assert (await refused(stripe("refunds", {"charge": charge_id, "amount": "500"})))[:2] == (400, invalid)
    for amount in ("0", "-1", "4.99", "much"):
        wrong = stripe("refunds", {"charge": charge_id, "amount": amount})
        assert await refused(wrong) == (400, invalid, "parameter_invalid_integer")
    nothing = {"amount": "0", "currency": "usd", "source": await method(stripe)}
    assert await refused(stripe("charges", nothing)) == (400, invalid, "parameter_invalid_integer")
    assert (await refused(stripe("refunds", {})))[2] == "parameter_missing"
    assert (await refused(stripe("refunds", {"charge": disputed_id})))[2] == "charge_disputed"
    await stripe("refunds", {"charge": charge_id})
    assert (await refused(stripe("refunds", {"charge": charge_id})))[2] == "charge_already_refunded"
    for path in ("charges/ch_1", f"refunds/{charge_id}", "disputes/dp_1", "events/evt_1", "refunds?charge=ch_1"):
        assert await refused(stripe(path)) == (404, invalid, "resource_missing")
    assert await refused(stripe("customers")) == (404, invalid, None)
    assert await refused(stripe("customers", {})) == (404, invalid, None)


async def test_another_key_is_refused_and_not_told_whole(server: SandboxServer, http: ClientSession) -> None:
    headers = {"Authorization": "Bearer sk_test_somebodyElses"}
    async with http.get(f"{server.url}/v1/charges", headers=headers) as answer:
        assert (answer.status, "somebodyElses" in await answer.text()) == (401, False)


async def test_an_idempotency_key_brings_the_first_answer_again_for_a_day(
    server: SandboxServer, stripe: Stripe, account: Account
) -> None:
    charge_id = account.charge(499, "usd")
    first = await stripe("refunds", {"charge": charge_id, "amount": "100"}, "k")
    account.fail_refund(first[1]["id"])
    assert await stripe("refunds", {"charge": charge_id, "amount": "100"}, "k") == first
    assert await refused(stripe("refunds", {"charge": charge_id}, "k")) == (400, "idempotency_error", None)
    too_much = await stripe("refunds", {"charge": charge_id, "amount": "500"}, "l")
    assert await stripe("refunds", {"charge": charge_id, "amount": "500"}, "l") == too_much
    server.world.clock.move(KEYS_KEPT)
    anew = await stripe("refunds", {"charge": charge_id, "amount": "100"}, "k")
    assert anew[1]["id"] != first[1]["id"]


async def test_a_list_comes_a_page_at_a_time_the_newest_first(stripe: Stripe, account: Account) -> None:
    ids = [account.charge(1, "usd") for _ in range(5)]
    seen, is_more, after = [], [], ""
    for _ in range(3):
        _, page = await stripe(f"charges?limit=2{after}")
        seen += [each["id"] for each in page["data"]]
        is_more.append(page["has_more"])
        after = f"&starting_after={seen[-1]}"
    assert (seen, is_more) == (ids[::-1], [True, True, False])
    assert (await refused(stripe("charges?limit=101")))[2] == "parameter_invalid"
    assert (await refused(stripe("charges?starting_after=ch_1")))[2] == "resource_missing"


async def test_a_list_is_narrowed_by_when_its_objects_were_made(
    server: SandboxServer, stripe: Stripe, account: Account
) -> None:
    ids, made = [], []
    for _ in range(3):
        ids.append(account.charge(1, "usd"))
        made.append(account.objects[ids[-1]]["created"])
        server.world.clock.move(timedelta(hours=1))

    async def listed(narrowed: str) -> list[str]:
        return [each["id"] for each in reversed((await stripe(f"charges?{narrowed}"))[1]["data"])]

    assert await listed(f"created[gte]={made[1]}&created[lte]={made[2]}") == ids[1:]
    assert await listed(f"created[gt]={made[1]}") == ids[2:]
    assert await listed(f"created[lt]={made[1]}") == ids[:1]
    assert await listed(f"created={made[1]}") == ids[1:2]
    assert (await refused(stripe("charges?created[gte]=yesterday")))[2] == "parameter_invalid_integer"


async def test_events_show_what_was_then_and_are_listed_for_thirty_days(
    server: SandboxServer, stripe: Stripe, account: Account
) -> None:
    charge_id = account.charge(499, "usd")
    account.give_back(charge_id, 100)
    account.give_back(charge_id)
    told = (await stripe("events?type=charge.refunded"))[1]["data"]
    assert [each["data"]["object"]["amount_refunded"] for each in told] == [499, 100]
    assert (await stripe(f"events/{told[0]['id']}"))[1] == told[0]
    server.world.clock.move(timedelta(days=30, seconds=1))
    account.charge(1, "usd")
    assert [each["type"] for each in (await stripe("events"))[1]["data"]] == ["charge.succeeded"]


async def test_a_dispute_is_decided_once_and_frees_the_charge_when_it_is_won(account: Account) -> None:
    charge_id = account.charge(499, "usd")
    dispute_id = account.open_dispute(charge_id)
    with pytest.raises(StripeRefusalError, match="cannot be disputed"):
        account.open_dispute(charge_id)
    account.close_dispute(dispute_id, "won")
    with pytest.raises(StripeRefusalError, match="is won already"):
        account.close_dispute(dispute_id, "lost")
    account.fail_refund(account.give_back(charge_id))
    with pytest.raises(StripeRefusalError, match="has come back already"):
        account.fail_refund(account.refunds(charge_id)[0]["id"])


@given(st.lists(st.tuples(st.integers(-1, 60), st.booleans()), max_size=12))
@settings(max_examples=50)
def test_no_more_stays_given_back_than_was_paid(steps: list[tuple[int, bool]]) -> None:
    account = Account(FakeClock(), Random(1))  # noqa: S311 - identifiers, no secrets
    charge_id = account.charge(100, "usd")
    for amount, comes_back in steps:
        left = 100 - account.refunded(charge_id)
        try:
            refund_id = account.give_back(charge_id, amount)
        except StripeRefusalError:
            assert not 1 <= amount <= left
            continue
        assert 1 <= amount <= left
        if comes_back:
            account.fail_refund(refund_id)
    stayed = sum(each["amount"] for each in account.refunds(charge_id) if each["status"] not in RETURNED)
    charge = account.objects[charge_id]
    assert charge["amount_refunded"] == stayed <= 100
    assert charge["refunded"] is (stayed == 100)
