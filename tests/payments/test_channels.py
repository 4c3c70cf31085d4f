"""The promises of every channel: one test for each promise, run against all of them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import partial
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.channel import Channel, RefundOrder
from payments.errors import ChannelAwayError, ChannelPauseError, RefusedByChannelError
from payments.methods import CARDS, METHODS, STARS, method_of
from payments.stars import StarsChannel
from payments.stripe.api import StripeApi
from payments.stripe.cards import CardChannel
from sandbox.faults import FaultKind
from sandbox.history import PastPayment
from sandbox.server import running_sandbox
from tests.support.bots import talking_bot
from tests.support.clock import START, FakeClock
from tests.support.stripe_account import KEY, Fault, running_stripe_account

REFUND_CALL: Final = "refundStarPayment"


class Spoilt(Enum):
    """The fault of the next call, at any provider."""

    NOT_REACHED = auto()
    FAILED = auto()
    ANSWER_LOST = auto()
    BUSY = auto()


@dataclass
class Provider:
    """A channel before its provider, the order to refund a charge, and how to see and to spoil what comes of it."""

    channel: Channel
    order: RefundOrder
    refunded: Callable[[], Awaitable[int]]
    spoil: Callable[[Spoilt], Awaitable[None]]


@asynccontextmanager
async def _stars() -> AsyncIterator[Provider]:
    kinds = {
        Spoilt.NOT_REACHED: FaultKind.CUT_BEFORE,
        Spoilt.FAILED: FaultKind.SERVER_ERROR,
        Spoilt.ANSWER_LOST: FaultKind.ANSWER_LOST,
        Spoilt.BUSY: FaultKind.RETRY_AFTER,
    }
    async with running_sandbox() as server, talking_bot(server.url, server.token) as bot:
        buyer = await server.client.add_person("Ann", started=True)
        [charge_id] = await server.client.add_past_payments([PastPayment(buyer.id, "payload", 200, START)])

        async def refunded() -> int:
            return sum(row["amount"] for row in await server.client.ledger() if "receiver" in row)

        async def spoil(how: Spoilt) -> None:
            more = {"retry_after_seconds": 7} if how is Spoilt.BUSY else {}
            await server.client.add_fault(kinds[how], REFUND_CALL, **more)

        order = RefundOrder(f"refund:{charge_id}", "first", False, charge_id, 200, "XTR", buyer.id)
        yield Provider(StarsChannel(bot), order, refunded, spoil)


@asynccontextmanager
async def _cards(intent_id: str | None = None) -> AsyncIterator[Provider]:
    kinds = {
        Spoilt.NOT_REACHED: Fault.CUT_BEFORE,
        Spoilt.FAILED: Fault.BROKEN,
        Spoilt.ANSWER_LOST: Fault.CUT_AFTER,
        Spoilt.BUSY: Fault.BUSY,
    }
    async with running_stripe_account(FakeClock()) as account:
        charge_id = account.charge(200, payment_intent=intent_id)

        async def refunded() -> int:
            return account.refunded(charge_id)

        async def spoil(how: Spoilt) -> None:
            account.faults.append(kinds[how])

        api = StripeApi(KEY, account.url, session=None)
        named = intent_id or charge_id
        order = RefundOrder(f"refund:stripe:{named}", "first", False, named, 200, "USD", 5001)
        yield Provider(CardChannel(api), order, refunded, spoil)
        await api.close()


@pytest.fixture(params=[_stars, _cards, partial(_cards, "pi_1")], ids=["stars", "cards", "cards by intent"])
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    async with request.param() as provider:
        yield provider


async def test_a_refund_gives_the_money_back_once_however_often_it_is_sent(provider: Provider) -> None:
    for attempt_key in ("first", "first", "second"):
        await provider.channel.refund(replace(provider.order, attempt_key=attempt_key))
    assert await provider.refunded() == 200


@pytest.mark.parametrize("attempt_key", ["first", "second"])
@pytest.mark.criterion("E1")
async def test_a_refund_whose_answer_was_lost_is_found_done(provider: Provider, attempt_key: str) -> None:
    await provider.spoil(Spoilt.ANSWER_LOST)
    with pytest.raises(ChannelAwayError):
        await provider.channel.refund(provider.order)
    await provider.channel.refund(replace(provider.order, attempt_key=attempt_key))
    assert await provider.refunded() == 200


@pytest.mark.parametrize("how", [Spoilt.NOT_REACHED, Spoilt.FAILED])
async def test_a_provider_that_is_away_has_done_nothing(provider: Provider, how: Spoilt) -> None:
    await provider.spoil(how)
    with pytest.raises(ChannelAwayError):
        await provider.channel.refund(provider.order)
    assert await provider.refunded() == 0


async def test_a_provider_that_is_busy_names_the_pause(provider: Provider) -> None:
    await provider.spoil(Spoilt.BUSY)
    with pytest.raises(ChannelPauseError) as caught:
        await provider.channel.refund(provider.order)
    assert caught.value.seconds == 7
    assert await provider.refunded() == 0


async def test_a_charge_that_the_provider_does_not_have_is_refused(provider: Provider) -> None:
    with pytest.raises(RefusedByChannelError):
        await provider.channel.refund(replace(provider.order, charge_id="ch_unknown"))
    assert await provider.refunded() == 0


@pytest.mark.criterion("R8")
async def test_a_refusal_says_what_is_through_if_charges_go_back_in_parts(provider: Provider) -> None:
    if not provider.channel.method.gives_back_parts:
        with pytest.raises(RefusedByChannelError) as caught:
            await provider.channel.refund(replace(provider.order, charge_id="ch_unknown"))
        assert caught.value.made is None
        return
    part = replace(provider.order, event_id=f"{provider.order.event_id}:part", attempt_key="part", amount=50)
    await provider.channel.refund(part)
    with pytest.raises(RefusedByChannelError) as caught:
        await provider.channel.refund(provider.order)
    assert caught.value.made is not None
    [made] = caught.value.made
    assert (made.amount, made.currency, made.row) == (50, provider.order.currency, part.event_id)
    assert (made.is_through, made.failure, made.happened_at) == (True, None, START)
    assert await provider.refunded() == 50


_IDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


@given(charge_id=_IDS)
@pytest.mark.criterion("I5")
def test_equal_provider_ids_are_two_charges_with_two_sources(charge_id: str) -> None:
    ids = {method.event_id(charge_id) for method in METHODS.values()}
    assert len(ids) == len(METHODS)
    assert len({method.source(method.event_id(charge_id)) for method in METHODS.values()}) == len(METHODS)
    for method in METHODS.values():
        assert method.provider_charge_id(method.event_id(charge_id)) == charge_id


@given(stars_id=_IDS, card_id=_IDS)
@pytest.mark.criterion("I5")
def test_no_two_charges_of_two_methods_have_one_source(stars_id: str, card_id: str) -> None:
    assert STARS.source(STARS.event_id(stars_id)) != CARDS.source(CARDS.event_id(card_id))


@pytest.mark.criterion("N4")
def test_the_currency_says_by_which_way_was_paid() -> None:
    assert [method_of(currency).name for currency in ("XTR", "USD", "JPY")] == ["telegram_stars", "stripe", "stripe"]
