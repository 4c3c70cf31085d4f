"""The sandbox's queue of updates: offsets, limits, allowed_updates, and the life of an update."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from aiogram import Bot

from sandbox.client import SandboxClient
from sandbox.people import Person
from sandbox.server import running_sandbox
from sandbox.settings import Settings
from sandbox.updates import DEFAULT_KINDS, Fate

Api = Callable[..., Awaitable[dict[str, Any]]]
HOUR = 3600


@pytest.fixture
async def ids(client: SandboxClient, ann: Person) -> list[int]:
    """Five messages wait; these are the ids of their updates."""
    for number in range(5):
        await client.send_text(ann.id, f"message {number}")
    return [record.id for record in await client.updates_waiting()]


async def fetched(api: Api, **arguments: object) -> list[int]:
    return [update["update_id"] for update in (await api("getUpdates", **arguments))["result"]]


async def waiting(client: SandboxClient) -> list[int]:
    return [record.id for record in await client.updates_waiting()]


async def test_without_an_offset_nothing_is_confirmed(api: Api, client: SandboxClient, ids: list[int]) -> None:
    assert ids == list(range(ids[0], ids[0] + 5))
    assert await fetched(api) == ids
    assert await waiting(client) == ids


async def test_an_offset_confirms_all_before_it(api: Api, client: SandboxClient, ids: list[int]) -> None:
    assert await fetched(api, offset=ids[2]) == ids[2:]
    assert await waiting(client) == ids[2:]
    past = await client.updates_past()
    assert [(record.id, record.fate) for record in past] == [(ids[0], Fate.CONFIRMED), (ids[1], Fate.CONFIRMED)]


async def test_a_negative_offset_keeps_the_last_and_forgets_the_rest(
    api: Api, client: SandboxClient, ids: list[int]
) -> None:
    assert await fetched(api, offset=-2) == ids[3:]
    assert await waiting(client) == ids[3:]
    assert {record.fate for record in await client.updates_past()} == {Fate.FORGOTTEN}


@pytest.mark.parametrize("beyond", [11, -1, -100_001])
async def test_an_absurd_offset_is_answered_from_the_head(
    beyond: int, api: Api, client: SandboxClient, ids: list[int]
) -> None:
    edge = ids[-1] + 1 if beyond > 0 else ids[0]
    assert await fetched(api, offset=edge + beyond) == ids
    assert await waiting(client) == ids


async def test_ten_above_the_tail_is_no_absurd_offset(api: Api, client: SandboxClient, ids: list[int]) -> None:
    assert await fetched(api, offset=ids[-1] + 11) == []
    assert await waiting(client) == []


@pytest.mark.parametrize(("limit", "count"), [(2, 2), (0, 1), (-7, 1), (1000, 5)])
async def test_the_limit_is_clamped(limit: int, count: int, api: Api, ids: list[int]) -> None:
    assert await fetched(api, limit=limit) == ids[:count]


async def test_an_answer_is_cut_at_four_megabytes(api: Api, client: SandboxClient) -> None:
    for _ in range(5):
        await client.push_raw({"message": {"text": "x" * 1_000_000}})
    assert len(await fetched(api)) == 4


async def test_a_message_lives_24_hours_from_its_date(api: Api, client: SandboxClient, ids: list[int]) -> None:
    await client.move_clock(24 * HOUR - 60)
    assert await fetched(api) == ids
    await client.move_clock(120)
    assert await waiting(client) == []
    assert {record.fate for record in await client.updates_past()} == {Fate.EXPIRED}


async def test_a_query_lives_150_seconds(bot: Bot, api: Api, client: SandboxClient, ann: Person) -> None:
    prices = [{"label": "Pro", "amount": 5}]
    invoice = {"title": "Pro", "description": "All", "payload": "p", "currency": "XTR", "prices": prices}
    link = (await api("createInvoiceLink", **invoice))["result"]
    await client.start_payment(ann.id, offer=link)
    await client.move_clock(140)
    assert (await bot.get_updates())[0].pre_checkout_query is not None
    await client.move_clock(11)
    assert await fetched(api, offset=1) == []


async def test_ids_begin_anywhere_and_the_seed_says_where() -> None:
    async def first_id(seed: int) -> int:
        async with running_sandbox(Settings(seed=seed)) as other:
            return (await other.client.push_raw({"message": {}})).id

    assert await first_id(5) == await first_id(5)
    begins = {await first_id(seed) for seed in range(4)}
    assert len(begins) == 4
    assert all(2_000_001 <= begin <= 1_000_000_000 for begin in begins)


async def test_after_a_quiet_week_ids_begin_anew(client: SandboxClient, ids: list[int]) -> None:
    await client.move_clock(timedelta(days=6).total_seconds())
    assert (await client.push_raw({"message": {}})).id == ids[-1] + 1
    await client.move_clock(timedelta(days=7).total_seconds())
    assert (await client.push_raw({"message": {}})).id != ids[-1] + 2


async def test_allowed_updates_stick_and_filter_what_comes_after(api: Api, client: SandboxClient, ann: Person) -> None:
    await client.send_text(ann.id, "queued before")
    await api("getUpdates", allowed_updates=json.dumps(["Callback_Query"]))
    await client.send_text(ann.id, "filtered")
    assert [record.update["message"]["text"] for record in await client.updates_waiting()] == ["queued before"]
    assert (await api("getWebhookInfo"))["result"]["allowed_updates"] == ["callback_query"]
    await api("getUpdates")  # absent: unchanged
    await api("getUpdates", allowed_updates="not json")
    await api("getUpdates", allowed_updates=json.dumps([1, "message"]))
    await client.send_text(ann.id, "still filtered")
    assert len(await client.updates_waiting()) == 1
    for back_to_default in ([], ["nonsense"]):
        await api("getUpdates", allowed_updates=json.dumps(["poll"]))
        await api("getUpdates", allowed_updates=json.dumps(back_to_default))
        assert "allowed_updates" not in (await api("getWebhookInfo"))["result"]
    await client.send_text(ann.id, "comes")
    assert len(await client.updates_waiting()) == 2


def test_the_default_leaves_three_kinds_out() -> None:
    assert "subscription" in DEFAULT_KINDS
    assert not {"chat_member", "message_reaction", "message_reaction_count"} & DEFAULT_KINDS


async def test_pushed_raw_update_comes_as_it_is(api: Api, client: SandboxClient) -> None:
    record = await client.push_raw({"update_id": 5, "message": {"odd": "\ud800\x00"}})
    [update] = (await api("getUpdates"))["result"]
    assert update == {"update_id": record.id, "message": {"odd": "\ud800\x00"}}


async def test_delete_webhook_can_drop_what_waits(api: Api, client: SandboxClient, ids: list[int]) -> None:
    assert (await api("getWebhookInfo"))["result"]["pending_update_count"] == len(ids)
    assert (await api("deleteWebhook"))["result"] is True
    assert await waiting(client) == ids
    await api("deleteWebhook", drop_pending_updates=True)
    assert await waiting(client) == []
    assert "no webhooks" in (await api("setWebhook", url="https://example.com"))["description"]
