"""A subscription's link paid again after its end: rebuild, cancelling, and a refund."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from db.engine import Database
from payments.refunds import requests
from sandbox.subscriptions import SubscriptionState as AtTelegram
from tests.conftest import Databases
from tests.support.chats import Chats
from tests.support.subscribers import Subscriber


@pytest.mark.criterion("N3", "R4")
@pytest.mark.parametrize("how", ["cancel", "refund"])
@pytest.mark.parametrize("pause", [timedelta(days=31, hours=2), timedelta(days=40)])
async def test_same_link_paid_again_can_be_ended_after_a_rebuild(
    chats: Chats, databases: Databases, open_database: Callable[[str], Database], how: str, pause: timedelta
) -> None:
    ann = Subscriber(chats, chats.people.buyer)
    link = await ann.link()
    first = await ann.pay(link)
    assert first.charge_id is not None
    await ann.client.cancel_subscription(first.charge_id)
    await ann.chats.settle()
    await ann.pass_time(pause)
    second = await ann.pay(link)
    assert second.charge_id is not None
    await ann.pass_time(timedelta(days=1))
    async with databases() as url:
        database = open_database(url)
        anew = ann.chats.on(database)
        anew._offset = ann.chats._offset
        await anew.rebuild()
        bob = Subscriber(anew, ann.person)
        await bob.told()
        if how == "cancel":
            await bob.press("Cancel Premium, renewed monthly")
            await bob.press("Yes, cancel it")
        else:
            async with anew.database.transaction() as session:
                await requests.request_refund(
                    session,
                    second.charge_id,
                    reason=None,
                    requested_by="telegram:1",
                    reply_chat_id=None,
                    now=anew.clock(),
                )
        await bob.chats.settle()
        at_telegram = {each.id: each.state for each in await bob.client.subscriptions(bob.person.id)}
        before = len(await bob.client.charges(bob.person.id))
        await bob.pass_time(timedelta(days=29, hours=1))
        assert at_telegram[second.charge_id] is not AtTelegram.ACTIVE
        assert len(await bob.client.charges(bob.person.id)) == before, "no more Stars are taken"
        await database.dispose()
