"""Telegram's ledger is the truth: lost updates, refunds made elsewhere, a lost disk, a restored copy."""

import random
from collections import Counter
from typing import Final

import pytest
from aiogram import Bot
from sqlalchemy import select

from db.engine import Database
from db.states import EventOutcome, EventStatus
from db.tables import StripeEvent
from payments.ledger import progress
from payments.notices import Notice
from payments.sale.payload import PayloadSigner
from sandbox.server import SandboxServer
from tests.support.life import BUYERS, Life, natural

pytestmark = pytest.mark.engines("sqlite", "postgresql")

LOST_TOKEN: Final = "1000001:a-token-that-is-lost"


async def _outcomes(database: Database) -> Counter[str | None]:
    async with database.reading() as session:
        return Counter(await session.scalars(select(StripeEvent.outcome)))


async def _a_busy_quarter(life: Life, seed: int = 7) -> None:
    """Let hundreds of payments, refunds and renewals of every fate happen over ten weeks."""
    chance = random.Random(seed)  # noqa: S311 - a story that can be told again
    buyers = list(BUYERS)
    for number in buyers[:20]:
        life.pay(number, "auto")
    await life.work()
    charges = []
    for _ in range(10):
        for _ in range(12):
            buyer = chance.choice(buyers[20:])
            charges.append((life.pay(buyer, chance.choice(["month", "bundle", "old"])), buyer))
        life.pay(buyers[20], "month", buyer_id=buyers[21])
        life.pay(buyers[22], "month", payload="another program's")
        await life.work()
        await life.live(7)
        charge, _ = charges.pop(chance.randrange(len(charges)))
        await life.request_refund(charge.id)
        charge, _ = charges.pop(chance.randrange(len(charges)))
        life.server.world.charges.refund_elsewhere(charge_id=charge.id)
        await life.work()
    life.pay(buyers[23], "life")
    await life.work()
    life.pay(buyers[23], "month")
    renewal = [each for each in life.server.world.charges.by_id.values() if each.subscription_id not in (None, each.id)]
    life.server.world.charges.refund_elsewhere(charge_id=renewal[0].id)
    await life.work()
    await life.live(1)


@pytest.mark.criterion("C1", "C3")
async def test_fifty_payments_whose_updates_telegram_dropped_are_settled_after_the_start(life: Life) -> None:
    await life.start()
    life.pay(BUYERS[0], "month")
    await life.work()
    for number in range(50):
        life.pay(BUYERS[number % 40], "bundle")
        life.pass_days(2 / 50)
    life.pass_days(1.1)
    report = await life.compare()
    assert (report.counts.recovered, report.counts.known, report.counts.unexplained) == (50, 1, 0)
    assert await _outcomes(life.database) == {EventOutcome.GRANTED: 51}
    assert (await life.told()).count(Notice.GRANTED) == 51
    assert (await life.compare()).counts.recovered == 0
    assert (await life.compare(from_start=True)).counts.known == 51


@pytest.mark.criterion("R1", "R4")
async def test_refunds_that_support_made_while_the_desk_was_down_take_the_access_away(life: Life) -> None:
    charges = [life.pay(number, "month") for number in BUYERS[:10]]
    await life.work()
    for charge in charges[:4]:
        life.server.world.charges.refund_elsewhere(charge_id=charge.id)
    life.pass_days(2)
    report = await life.start()
    assert report is None
    before = await natural(life.database)
    assert sum(row[2] == "revoked" for row in before["entitlements"]) == 4
    told = Counter(await life.told())
    assert (told[Notice.REFUNDED], told[Notice.REFUNDED_OUTSIDE]) == (4, 4)
    assert (await life.compare()).counts.unexplained == 0


async def test_a_lost_database_is_made_anew_as_it_was_and_nobody_is_told(
    life: Life, server: SandboxServer, bot: Bot, empty_database: Database
) -> None:
    await _a_busy_quarter(life)
    before = await natural(life.database)
    assert len(before["stripe_events"]) > 180
    calls = len(await server.client.calls())
    heir = Life(server, bot, empty_database)
    report = await heir.start()
    assert report is not None
    assert report.counts.unexplained == 0
    made = await natural(empty_database)
    for table, rows in before.items():
        assert made[table] == rows, table
    assert await heir.told() == []
    assert {call.method for call in (await server.client.calls())[calls:]} <= {
        "getStarTransactions",
        "getMyStarBalance",
        "getUpdates",
    }
    stand = await heir.stand()
    assert (stand.pass_wanted_at, stand.payment_stars) == (None, stand.event_stars)
    # And it sells on.
    heir.pay(BUYERS[0], "month")
    await heir.work()
    assert await heir.told() == [Notice.GRANTED]


async def test_a_copy_of_the_first_day_restored_on_the_twentieth_catches_up_and_gives_no_time_anew(
    life: Life, server: SandboxServer, bot: Bot, empty_database: Database
) -> None:
    copy = Life(server, bot, empty_database)
    first = [life.pay(number, "month") for number in BUYERS[:5]]
    life.pay(BUYERS[30], "auto")
    # Both desks see the first day; from then on one of them is a file on a shelf.
    await copy.compare()
    await life.work()
    async with empty_database.transaction() as session:
        await progress.mark_unfinished(session, copy.clock())
    told = await copy.told()
    server.world.charges.refund_elsewhere(charge_id=first[0].id)
    for day in range(20):
        life.pay(BUYERS[5 + day], "month")
        await life.work()
        await life.live(1)
    await copy.start()
    assert await natural(empty_database) == await natural(life.database)
    assert await copy.told() == told


@pytest.mark.parametrize("hand", ["old token", "unsigned", "nothing"])
async def test_rebuild_after_a_replaced_token_honours_or_parks_every_charge(
    life: Life, server: SandboxServer, bot: Bot, empty_database: Database, hand: str
) -> None:
    lost = Life(server, bot, life.database, PayloadSigner(LOST_TOKEN))
    for number in BUYERS[:10]:
        lost.pay(number, "month")
        lost.pay(number, "auto")
    await lost.work()
    await lost.live(31)
    before = await natural(lost.database)
    signer = PayloadSigner(server.token, [LOST_TOKEN] if hand == "old token" else [])
    heir = Life(server, bot, empty_database, signer)
    async with empty_database.transaction() as session:
        await progress.mark_unfinished(session, heir.clock(), trusts_unsigned=hand == "unsigned")
    await heir.start()
    made = await natural(empty_database)
    if hand == "nothing":
        assert {(row[6], row[7]) for row in made["stripe_events"]} == {(EventStatus.FAILED, EventOutcome.PARKED)}
        assert made["entitlements"] == []
    else:
        assert made == before
    assert await heir.told() == []
