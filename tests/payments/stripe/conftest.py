"""A Stripe account, the calls to it, localstripe, and the money side of the desk."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from payments.channel import by_name
from payments.pause import Pause
from payments.refunds.sending import RefundSender
from payments.settlement.worker import Worker
from payments.stripe.api import StripeApi
from payments.stripe.cards import CardChannel
from payments.stripe.watch import StripeWatch
from tests.support.clock import FakeClock
from tests.support.desk import Desk
from tests.support.desk_fixtures import desk as desk  # noqa: PLC0414 - a fixture
from tests.support.localstripe import LocalStripe, running_localstripe
from tests.support.money import ADMINS
from tests.support.stripe_account import KEY, StripeAccount, running_stripe_account


@pytest.fixture
async def account(clock: FakeClock) -> AsyncIterator[StripeAccount]:
    async with running_stripe_account(clock) as account:
        yield account


@pytest.fixture
async def api(account: StripeAccount) -> AsyncIterator[StripeApi]:
    api = StripeApi(KEY, account.url, session=None)
    yield api
    await api.close()


@pytest.fixture
def worker(desk: Desk, api: StripeApi) -> Worker:
    sender = RefundSender(desk.database, by_name(CardChannel(api)), desk.clock)
    return Worker(desk.database, desk.settlement, sender, desk.clock, on_progress=lambda: None, pause=Pause(desk.clock))


@pytest.fixture
def watch(desk: Desk, api: StripeApi) -> StripeWatch:
    return StripeWatch(desk.database, api, desk.clock, ADMINS, on_recorded=lambda: None, lost=None)


@pytest.fixture
async def localstripe(tmp_path: Path) -> AsyncIterator[LocalStripe]:
    async with running_localstripe(tmp_path) as localstripe:
        yield localstripe
