"""A pass that settles in bulk ends as settlement one by one does."""

import random

import pytest
from aiogram import Bot
from sqlalchemy.ext.asyncio import AsyncSession

from db.engine import Database
from db.tables import StripeEvent
from payments.ledger import rebuild
from sandbox.server import SandboxServer
from tests.support.life import BUYERS, Life, natural


@pytest.mark.parametrize("seed", range(3))
async def test_in_bulk_and_one_by_one_are_the_same(
    life: Life,
    server: SandboxServer,
    bot: Bot,
    empty_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    chance = random.Random(seed)  # noqa: S311 - a story that can be told again
    buyers = BUYERS[:12]
    for _ in range(150):
        code = chance.choices(["month", "bundle", "old", "life", "auto"], [8, 4, 4, 1, 1])[0]
        payload = chance.choices([None, "another program's", "sl1:damaged"], [20, 1, 1])[0]
        charge = life.pay(
            chance.choice(buyers), code, buyer_id=chance.choice([None] * 9 + [buyers[0]]), payload=payload
        )
        if chance.random() < 0.1:
            life.pass_days(0.1)
            server.world.charges.refund_elsewhere(charge_id=charge.id)
        life.pass_days(chance.choice([0, 0, 0.01, 1]))
    life.pass_days(1)
    report = await life.start()
    one_by_one = Life(server, bot, empty_database)

    async def nothing(_: AsyncSession, batch: list[StripeEvent], *__: object) -> list[StripeEvent]:
        return batch

    monkeypatch.setattr(rebuild, "settle_plain_payments", nothing)
    assert await one_by_one.start() == report
    assert await natural(life.database) == await natural(empty_database)
