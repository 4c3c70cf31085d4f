"""A sandbox with many buyers, and lives of a desk on databases of one engine."""

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from aiogram import Bot

from db.engine import Database
from sandbox.server import SandboxServer
from tests.support.desk_fixtures import bot, server
from tests.support.life import BUYERS, Life

if TYPE_CHECKING:
    from tests.support.postgresql import Cluster

__all__ = ["bot", "server"]


@pytest.fixture(autouse=True)
def _buyers(server: SandboxServer) -> None:
    for number in BUYERS:
        server.world.people.add_person(
            first_name=f"Buyer {number}", id=number, username=f"buyer{number}", balance_stars=1_000_000, started=True
        )


@pytest.fixture
def life(server: SandboxServer, bot: Bot, database: Database) -> Life:
    """Give the desk from its first day."""
    return Life(server, bot, database)


@pytest_asyncio.fixture
async def empty_database(
    engine_name: str, request: pytest.FixtureRequest, open_database: Callable[[str], Database], tmp_path: Path
) -> AsyncIterator[Database]:
    """Give another migrated database, with nothing in it, on the same engine."""
    if engine_name == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        path = shutil.copy(template, tmp_path / "another.sqlite")
        yield open_database(f"sqlite+aiosqlite:///{path}")
    else:
        cluster: Cluster = request.getfixturevalue("cluster")
        async with cluster.database(request.getfixturevalue("postgresql_template")) as url:
            database = Database(url)
            yield database
            await database.dispose()
