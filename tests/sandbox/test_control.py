"""The control API over HTTP, its client, and waiting for future events."""

import asyncio

import pytest
from aiogram import Bot
from aiohttp import ClientSession

from sandbox.client import SandboxClient
from sandbox.people import Person
from sandbox.remote.transport import SandboxError, SandboxTimeoutError
from sandbox.server import SandboxServer


async def test_any_language_reads_it(server: SandboxServer, http: ClientSession, ann: Person) -> None:
    async with http.get(f"{server.url}/control/person", params={"user_id": str(ann.id)}) as response:
        body = await response.json()
    assert (body["result"]["first_name"], body["result"]["balance_stars"]) == ("Ann", 1_000)


@pytest.mark.parametrize(
    ("operation", "body", "status", "words"),
    [
        ("nothing", b"{}", 404, "no such operation"),
        ("person", b"{}", 422, "Field required"),
        ("person", b'{"user_id": "x"}', 422, "valid integer"),
        ("person", b'{"user_id": 1, "name": 2}', 422, "Extra inputs"),
        ("person", b'{"user_id": 1}', 409, "there is no person with the id 1"),
        ("person", b"{", 422, "Expecting"),
        ("person", b"[]", 422, "must be a JSON object"),
        ("payment", b'{"payment_id": 1}', 409, "there is no payment 1"),
        ("callback", b'{"query_id": "1"}', 409, "there is no callback query"),
        ("renew", b'{"subscription_id": "1"}', 409, "there is no subscription"),
        ("remove_bot", b'{"chat_id": 1}', 409, "there is no group"),
        ("replace_token", b'{"token": "5:x"}', 409, "begins with 100200300:"),
    ],
)
async def test_wrong_control_request_is_refused_in_words(
    operation: str, body: bytes, status: int, words: str, server: SandboxServer, http: ClientSession
) -> None:
    headers = {"Content-Type": "application/json"}
    async with http.post(f"{server.url}/control/{operation}", data=body, headers=headers) as response:
        assert response.status == status
        assert words in (await response.json())["error"]


async def test_actions_want_a_json_post_that_no_foreign_page_can_send(
    server: SandboxServer, http: ClientSession
) -> None:
    url = f"{server.url}/control/add_person"
    async with http.get(url, params={"first_name": "Eve"}) as response:
        assert response.status == 404
    async with http.post(url, data={"first_name": "Eve"}) as response:
        assert response.status == 415
    assert await server.client.persons() == []


async def test_the_feed_gives_what_came_after_a_number(client: SandboxClient, ann: Person) -> None:
    last, events = await client.events()
    assert events == []
    waiting = asyncio.create_task(client.events(after=last, timeout_seconds=10))
    await client.send_text(ann.id, "hello")
    newest, events = await waiting
    assert newest > last
    assert events[0] == {"n": last + 1, "topic": "message", "chat_id": ann.id, "message_id": 1}
    _, everything = await client.events(after=0)
    assert everything[0]["n"] == 1


async def test_a_wrong_event_number_is_refused(server: SandboxServer, http: ClientSession) -> None:
    async with http.get(f"{server.url}/control/events", params={"after": "x"}) as response:
        assert response.status == 422


async def test_wait_for_a_text_skips_older_and_other_messages(bot: Bot, client: SandboxClient, ann: Person) -> None:
    old = await bot.send_message(ann.id, "welcome")
    waiting = asyncio.create_task(client.wait_for_text(ann.id, "welcome", after_message_id=old.message_id))
    await bot.send_message(ann.id, "no")
    await bot.send_message(ann.id, "welcome back")
    assert (await waiting).text() == "welcome back"


async def test_failed_wait_shows_the_whole_chat(bot: Bot, client: SandboxClient, ann: Person) -> None:
    await client.send_text(ann.id, "/buy")
    sent = await bot.send_message(ann.id, "sold out")
    await bot.edit_message_text("sold out, sorry", chat_id=ann.id, message_id=sent.message_id)
    with pytest.raises(SandboxTimeoutError) as failure:
        await client.wait_for_text(ann.id, "invoice", timeout_seconds=0)
    assert "1 Ann: /buy" in str(failure.value)
    assert "2 bot (edited): sold out, sorry" in str(failure.value)


async def test_the_log_has_the_calls_without_the_token(bot: Bot, client: SandboxClient, ann: Person) -> None:
    await bot.send_message(ann.id, "hello")
    await bot.get_me()
    [call] = await client.calls("sendmessage")
    assert (call.method, call.status, call.args["text"]) == ("sendMessage", 200, "hello")
    assert call.answer["result"]["message_id"] == 1
    assert bot.token not in str(await client.calls())
    assert (await client.wait_for_call("getMe", after=call.number)).number == call.number + 1


async def test_ids_are_taken_once(client: SandboxClient, ann: Person) -> None:
    with pytest.raises(SandboxError, match="already"):
        await client.add_person("Another", id=ann.id)
    assert (await client.add_person("Ben", id=77)).id == 77
    assert (await client.rename(ann.id, "Anne", last_name="<b>")).last_name == "<b>"


async def test_a_client_is_entered_first() -> None:
    with pytest.raises(RuntimeError, match="enter it first"):
        await SandboxClient("http://127.0.0.1:1").persons()
