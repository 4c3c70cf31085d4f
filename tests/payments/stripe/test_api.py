"""The calls to Stripe, against our own strict account and against localstripe."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
from aiohttp import web

from payments.errors import ChannelAwayError, ChannelPauseError, RefusedByChannelError, UnreadableMoneyError
from payments.stripe.api import StripeApi
from tests.support.clock import START, FakeClock
from tests.support.localstripe import LocalStripe
from tests.support.stripe_account import KEY, Fault, StripeAccount

ROW: Final = "refund:stripe:ch_1"


async def test_a_refund_says_whose_row_it_is(account: StripeAccount, api: StripeApi) -> None:
    charge_id = account.charge()
    refund = await api.refund(charge_id, 499, row=ROW, idempotency_key="k")
    assert (refund.charge, refund.amount, refund.currency, refund.row) == (charge_id, 499, "usd", ROW)
    assert (refund.is_through, refund.happened_at) == (True, START)
    assert await api.list_refunds(charge_id) == [refund]


@pytest.mark.parametrize("fault", [Fault.CUT_AFTER, Fault.CUT_WITHIN])
@pytest.mark.criterion("E1")
async def test_an_answer_that_was_lost_comes_again_under_the_same_key(
    account: StripeAccount, api: StripeApi, fault: Fault
) -> None:
    charge_id = account.charge()
    account.faults.append(fault)
    with pytest.raises(ChannelAwayError):
        await api.refund(charge_id, 100, row=ROW, idempotency_key="k")
    again = await api.refund(charge_id, 100, row=ROW, idempotency_key="k")
    assert [each["id"] for each in account.refunds(charge_id)] == [again.id]


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.BROKEN])
async def test_a_stripe_that_fails_is_away(account: StripeAccount, api: StripeApi, fault: Fault) -> None:
    charge_id = account.charge()
    account.faults.append(fault)
    with pytest.raises(ChannelAwayError):
        await api.refund(charge_id, 499, row=ROW, idempotency_key="k")
    assert account.refunded(charge_id) == 0


async def test_a_stripe_that_cannot_be_reached_is_away(unused_tcp_port: int) -> None:
    api = StripeApi(KEY, f"http://127.0.0.1:{unused_tcp_port}", session=None)
    with pytest.raises(ChannelAwayError):
        await api.list_refunds("ch_1")
    await api.close()


async def test_a_busy_stripe_names_the_pause(account: StripeAccount, api: StripeApi) -> None:
    account.faults.append(Fault.BUSY)
    with pytest.raises(ChannelPauseError) as caught:
        await api.list_refunds("ch_1")
    assert caught.value.seconds == 7


async def test_refusal_by_stripe_has_its_code(account: StripeAccount, api: StripeApi) -> None:
    charge_id = account.charge()
    account.give_back(charge_id)
    with pytest.raises(RefusedByChannelError) as caught:
        await api.refund(charge_id, 499, row=ROW, idempotency_key="k")
    assert caught.value.code == "charge_already_refunded"


@pytest.mark.criterion("S7")
async def test_a_wrong_key_is_named_by_its_setting_and_not_shown(account: StripeAccount) -> None:
    api = StripeApi("sk_test_secretsecret", account.url, session=None)
    with pytest.raises(RefusedByChannelError, match="STRIPE_SECRET_KEY") as caught:
        await api.list_refunds("ch_1")
    await api.close()
    assert "sk_test" not in f"{caught.value!r} {caught.value.__cause__!r} {api!r} {vars(api)!r}"


async def test_events_come_a_page_at_a_time_from_a_moment_on(
    account: StripeAccount, api: StripeApi, clock: FakeClock
) -> None:
    api.page_size = 2
    charges = []
    for _ in range(5):
        charges.append(account.charge())
        account.give_back(charges[-1])
        clock.advance(seconds=10)
    account.open_dispute(charges[0])
    pages = [[event.charge_id for event in page] async for page in api.list_events("charge.refunded", None)]
    assert pages == [[charges[4], charges[3]], [charges[2], charges[1]], [charges[0]]]
    since = int(START.timestamp()) + 30
    (recent,) = [page async for page in api.list_events("charge.refunded", since)]
    assert [event.charge_id for event in recent] == [charges[4], charges[3]]
    ((opened,),) = [page async for page in api.list_events("charge.dispute.created", None)]
    assert (opened.charge_id, (await api.fetch_dispute(opened.object_id)).status) == (charges[0], "needs_response")


async def test_more_pages_than_the_bound_are_refused(account: StripeAccount, api: StripeApi) -> None:
    api.page_size = 1
    api.refund_pages_max = 2
    charge_id = account.charge()
    for _ in range(3):
        account.give_back(charge_id, 1)
    with pytest.raises(RefusedByChannelError, match="more than 2 pages"):
        await api.list_refunds(charge_id)


async def test_a_refund_that_cannot_be_read_is_named_by_its_fields(account: StripeAccount, api: StripeApi) -> None:
    charge_id = account.charge()
    account.give_back(charge_id, 1, currency="dollars")
    with pytest.raises(UnreadableMoneyError, match=r"Stripe's refund cannot be read: currency\Z"):
        await api.list_refunds(charge_id)


async def test_localstripe_answers_the_same_calls(localstripe: LocalStripe) -> None:
    api = StripeApi(KEY, localstripe.url, session=None)
    charge_id = await localstripe.charge(499, "usd")
    refund = await api.refund(charge_id, 499, row=ROW, idempotency_key="k")
    assert (refund.amount, refund.row, refund.is_through) == (499, ROW, True)
    assert await api.list_refunds(charge_id) == [refund]
    assert [page async for page in api.list_events("charge.refunded", None)] == [[]]
    with pytest.raises(RefusedByChannelError):
        await api.list_refunds("ch_unknown")
    await api.close()


@pytest.mark.criterion("S7")
async def test_a_key_that_may_not_do_it_is_refused_and_not_quoted() -> None:
    words = "The provided key 'rk_live_****1a' does not have the required permissions."
    async with _answering(403, {"error": {"type": "invalid_request_error", "message": words}}) as api:
        with pytest.raises(RefusedByChannelError) as caught:
            await api.list_refunds("ch_1")
    assert str(caught.value) == "The provided key (the key) does not have the required permissions."


async def test_answer_that_is_not_stripes_names_the_missing_fields() -> None:
    async with _answering(200, {"ok": True}) as api:
        with pytest.raises(UnreadableMoneyError, match="data, has_more"):
            await api.list_refunds("ch_1")


@asynccontextmanager
async def _answering(status: int, body: dict[str, object]) -> AsyncIterator[StripeApi]:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api = StripeApi(KEY, f"http://127.0.0.1:{runner.addresses[0][1]}", session=None)
    yield api
    await api.close()
    await runner.cleanup()
