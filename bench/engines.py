"""Fresh, migrated databases on each engine, as durable as in production."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
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
    with fresh_cluster() as cluster:
        async with cluster.database() as url, _migrated(url) as database:
            yield database


@contextmanager
def fresh_cluster() -> Iterator[Cluster]:
    """Start a PostgreSQL for the bench, and remove it at the end of the block."""
    directory = cluster_directory()
    try:
        yield Cluster(directory)
    finally:
        remove_cluster(directory)


@asynccontextmanager
async def _migrated(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    await migrate(database, BOT_ID)
    try:
        yield database
    finally:
        await database.dispose()
