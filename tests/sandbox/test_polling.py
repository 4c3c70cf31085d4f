"""Long polls of the sandbox: held, woken, throttled, and 409 for the older of two."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sandbox.client import SandboxClient
from sandbox.people import Person

Api = Callable[..., Awaitable[dict[str, Any]]]
CONFLICT = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"


async def start(client: SandboxClient, poll: Awaitable[dict[str, Any]]) -> asyncio.Task[dict[str, Any]]:
    """Start a poll, and wait until the server holds it."""
    last, _ = await client.events()
    task = asyncio.ensure_future(poll)
    while True:
        last, events = await client.events(after=last, timeout_seconds=10)
        assert events, "the poll was not held"
        if any(event["topic"] == "poll" for event in events) and await client.polling():
            return task


async def test_an_update_wakes_a_long_poll(api: Api, client: SandboxClient, ann: Person) -> None:
    poll = await start(client, api("getUpdates", timeout=50))
    await client.send_text(ann.id, "hello")
    [update] = (await poll)["result"]
    assert update["message"]["text"] == "hello"


async def test_a_long_poll_ends_empty(api: Api) -> None:
    assert await api("getUpdates", timeout=1) == {"ok": True, "result": []}


async def test_waiting_update_ends_a_long_poll_at_once(api: Api, client: SandboxClient, ann: Person) -> None:
    await client.send_text(ann.id, "hello")
    assert len((await api("getUpdates", timeout=50))["result"]) == 1


async def test_a_busy_loop_at_one_offset_is_held_and_gets_one_update_at_a_time(
    api: Api, client: SandboxClient, ann: Person
) -> None:
    assert (await api("getUpdates", offset=7))["result"] == []
    poll = await start(client, api("getUpdates", offset=7, timeout=0))
    await client.send_text(ann.id, "one")
    await client.send_text(ann.id, "two")
    assert len((await poll)["result"]) == 1
    assert len((await api("getUpdates", offset=7))["result"]) == 1
    assert len((await api("getUpdates", offset=8))["result"]) == 2


async def test_a_newer_long_poll_ends_the_older_with_409(api: Api, client: SandboxClient, ann: Person) -> None:
    older = await start(client, api("getUpdates", timeout=50))
    newer = await start(client, api("getUpdates", timeout=50))
    assert await older == {"ok": False, "error_code": 409, "description": CONFLICT}
    await client.send_text(ann.id, "hello")
    assert len((await newer)["result"]) == 1


async def test_newest_of_three_long_polls_stays(api: Api, client: SandboxClient, ann: Person) -> None:
    first = await start(client, api("getUpdates", timeout=50))
    second = await start(client, api("getUpdates", timeout=50))
    third = await start(client, api("getUpdates", timeout=50))
    await client.send_text(ann.id, "hello")
    assert len((await third)["result"]) == 1
    assert [(await poll)["error_code"] for poll in (first, second)] == [409, 409]


async def test_short_polls_with_data_do_not_collide(api: Api, client: SandboxClient, ann: Person) -> None:
    await client.send_text(ann.id, "hello")
    answers = await asyncio.gather(*(api("getUpdates", offset=-1) for _ in range(5)))
    assert all(len(answer["result"]) == 1 for answer in answers)


async def test_a_poll_ends_with_its_connection(api: Api, client: SandboxClient) -> None:
    poll = asyncio.ensure_future(api("getUpdates", timeout=50))
    await client.wait_until_polling()
    poll.cancel()

    async def gone() -> bool:
        return not await client.polling()

    await client.wait_until(gone)
