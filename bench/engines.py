"""Fresh, migrated databases on each engine, as durable as in production."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from db.engine import Database
from db.migrate import migrate
from tests.support.postgresql import Cluster, cluster_directory, remove_cluster

BOT_ID: Final = 1000001
ENGINES: Final = ("sqlite", "postgresql")


@asynccontextmanager
async def fresh_database(engine: str) -> AsyncIterator[Database]:
    """Create a database, and drop it at the end of the block."""
    if engine == "sqlite":
        with tempfile.TemporaryDirectory(prefix="starledger-bench-") as directory:
            async with _migrated(f"sqlite+aiosqlite:///{Path(directory) / 'bench.sqlite'}") as database:
                yield database
        return
    directory_of_cluster = cluster_directory()
    try:
        async with (
            Cluster(directory_of_cluster).database() as url,
            _migrated(url) as database,
        ):
            yield database
    finally:
        remove_cluster(directory_of_cluster)


@asynccontextmanager
async def _migrated(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    await migrate(database, BOT_ID)
    try:
        yield database
    finally:
        await database.dispose()
