"""Trouble at Stripe that a person must mend comes to the admins once a day while it lasts, restarts or not."""

from datetime import timedelta

import pytest

from db.engine import Database
from db.timings import PRODUCTION
from payments.errors import RefusedByChannelError
from payments.notices import Notice
from payments.pause import SECONDS_MAX
from payments.stripe.api import StripeApi
from payments.stripe.trouble import AWAY_HOURS, AWAY_MINUTES, StripeTrouble, TroubleAlert
from payments.stripe.watch import KEPT_DAYS, StripeWatch
from tests.support import stripe_account
from tests.support.clock import START, FakeClock
from tests.support.desk import Desk
from tests.support.money import ADMIN_CHAT_ID, ADMINS
from tests.support.obstacles import breaking_off
from tests.support.stripe_account import KEY, Fault, StripeAccount


def watching(desk: Desk, api: StripeApi) -> StripeWatch:
    """Return a watch, as each start makes it anew."""
    return StripeWatch(desk.database, api, desk.clock, ADMINS, on_recorded=lambda: None, lost=None)


async def told(desk: Desk) -> list[str]:
    """Return which troubles are told to the admins."""
    notices = await desk.notices()
    assert {(notice, chat_id) for notice, chat_id, _ in notices} <= {(Notice.STRIPE_TROUBLE, ADMIN_CHAT_ID)}
    return [facts["trouble"] for _, _, facts in notices]


async def test_a_key_that_stripe_does_not_know_is_told_once_a_day_for_all_starts(
    desk: Desk, account: StripeAccount, api: StripeApi, watch: StripeWatch
) -> None:
    await watch.try_once()
    account.key = "sk_test_another"
    for days in (1, 2, 3):
        for each in (watch, watch, watching(desk, api)):
            await each.try_once()
        assert await told(desk) == [StripeTrouble.KEY] * days
        desk.clock.advance(days=1)


async def test_trouble_that_comes_and_goes_is_told_once_a_day(
    desk: Desk, account: StripeAccount, watch: StripeWatch
) -> None:
    days = set()
    for _ in range(6):
        account.key = KEY
        await watch.try_once()
        account.key = "sk_test_another"
        await watch.try_once()
        days.add(desk.clock().date())
        desk.clock.advance(hours=7)
    assert await told(desk) == [StripeTrouble.KEY] * len(days)


async def test_refusal_without_a_known_code_is_told_in_stripes_words(desk: Desk) -> None:
    alert = TroubleAlert(desk.database, desk.clock, ADMINS, on_owed=lambda: None)
    await alert.note_failure(RefusedByChannelError("refused", "The key may not read events."))
    ((_, _, facts),) = await desk.notices()
    assert facts == {"trouble": StripeTrouble.REFUSED, "why": "The key may not read events.", "read_at": None}


@pytest.mark.criterion("E2")
async def test_alert_lost_with_the_database_is_told_at_the_next_attempt(
    postgresql_database: Database, clock: FakeClock, account: StripeAccount, api: StripeApi
) -> None:
    desk = Desk(postgresql_database, clock)
    watch = watching(desk, api)
    account.key = "sk_test_another"
    async with breaking_off(desk.database, "INSERT", "outbox"):
        await watch.try_once()
    assert await told(desk) == []
    await watch.try_once()
    assert await told(desk) == [StripeTrouble.KEY]


@pytest.mark.parametrize("fault", [Fault.BROKEN, Fault.BUSY, Fault.STRANGE])
async def test_a_stripe_that_is_away_is_told_when_it_has_lasted(
    desk: Desk, account: StripeAccount, watch: StripeWatch, fault: Fault
) -> None:
    for hours in (0, AWAY_HOURS - 1):
        desk.clock.advance(hours=hours)
        account.faults.append(fault)
        await watch.try_once()
    assert await told(desk) == []
    await watch.try_once()
    for hours in (1, AWAY_HOURS - 2):
        desk.clock.advance(hours=hours)
        account.faults.append(fault)
        await watch.try_once()
    assert await told(desk) == []
    for minutes in (60, 30):
        desk.clock.advance(minutes=minutes)
        account.faults.append(fault)
        await watch.try_once()
    assert await told(desk) == [StripeTrouble.AWAY]


async def test_duration_of_an_outage_survives_restarts(
    desk: Desk, account: StripeAccount, api: StripeApi, watch: StripeWatch
) -> None:
    await watch.try_once()
    for hours in range(0, AWAY_HOURS + 1, 2):
        desk.clock.advance(hours=2 if hours else 0)
        again = watching(desk, api)
        for minutes in (AWAY_MINUTES, 0):
            account.faults.append(Fault.BROKEN)
            await again.try_once()
            assert await told(desk) == ([] if hours < AWAY_HOURS or minutes else [StripeTrouble.AWAY])
            desk.clock.advance(minutes=minutes)


async def test_a_desk_that_was_away_for_longer_than_stripe_keeps_its_events_says_so(
    desk: Desk, account: StripeAccount, api: StripeApi, watch: StripeWatch
) -> None:
    await watch.try_once()
    desk.clock.advance(days=KEPT_DAYS)
    await watch.try_once()
    assert await told(desk) == []
    desk.clock.advance(days=KEPT_DAYS, seconds=1)
    again = watching(desk, api)
    account.faults.append(Fault.BROKEN)
    for _ in range(3):
        await again.try_once()
    ((_, _, facts),) = await desk.notices()
    assert (facts["trouble"], facts["read_at"]) == (StripeTrouble.GAP, (START + timedelta(days=KEPT_DAYS)).isoformat())


async def test_a_pause_that_never_ends_is_cut_and_shown(
    account: StripeAccount, watch: StripeWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe_account, "RETRY_AFTER", "10000000")
    account.faults.append(Fault.BUSY)
    assert await watch.try_once() == SECONDS_MAX
    assert watch.trouble == "Stripe's events cannot be read: Stripe asks to be left alone for a while"
    assert await watch.try_once() == PRODUCTION.stripe_poll_seconds
    assert watch.trouble is None
