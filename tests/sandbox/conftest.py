"""A sandbox for each test, a real aiogram Bot that talks to it, and two people with Stars."""

from collections.abc import AsyncIterator

import pytest
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiohttp import ClientSession

from sandbox.client import SandboxClient
from sandbox.people import Person
from sandbox.server import SandboxServer, running_sandbox
from sandbox.settings import Settings


@pytest.fixture
async def server() -> AsyncIterator[SandboxServer]:
    async with running_sandbox(Settings(seed=1)) as running:
        yield running


@pytest.fixture
def client(server: SandboxServer) -> SandboxClient:
    return server.client


@pytest.fixture
async def bot(server: SandboxServer) -> AsyncIterator[Bot]:
    session = AiohttpSession(api=TelegramAPIServer.from_base(server.url))
    async with Bot(server.token, session=session).context() as bot:
        yield bot


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
