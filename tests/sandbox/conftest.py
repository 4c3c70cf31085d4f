"""A sandbox for each test, a real aiogram Bot that talks to it, and two people with Stars."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiogram import Bot
from aiohttp import ClientSession

from sandbox.client import SandboxClient
from sandbox.people import Person
from sandbox.server import SandboxServer, running_sandbox
from sandbox.settings import Settings
from tests.support.bots import talking_bot

Api = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
async def server() -> AsyncIterator[SandboxServer]:
    async with running_sandbox(Settings(seed=1)) as running:
        yield running


@pytest.fixture
def client(server: SandboxServer) -> SandboxClient:
    return server.client


@pytest.fixture
async def bot(server: SandboxServer) -> AsyncIterator[Bot]:
    async with talking_bot(server.url, server.token) as bot:
        yield bot


@pytest.fixture
def api(server: SandboxServer, http: ClientSession) -> Api:
    """Give a function that calls a method with a JSON body, and gives the whole answer."""

    async def call(method: str, **arguments: object) -> dict[str, Any]:
        async with http.post(f"{server.url}/bot{server.token}/{method}", json=arguments) as response:
            answer: dict[str, Any] = json.loads(await response.read())
            assert response.status == (200 if answer["ok"] else answer["error_code"])
            return answer

    return call


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture
async def ann(client: SandboxClient) -> Person:
    return await client.add_person("Ann", balance_stars=1_000, username="ann", started=True)


@pytest.fixture
async def ben(client: SandboxClient) -> Person:
    return await client.add_person("Ben", balance_stars=1_000, started=True)
