"""The desk's daemon as a program of the bench: on a fresh database, of this checkout or another one."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Final

from bench.engines import fresh_cluster
from bench.programs import ROOT, Program
from payments.sale.catalog_file import parse_catalog
from tests.support.postgresql import Cluster

DESK: Final = "desk"
OTHER_DESK: Final = "desk of the other checkout"
PLAN: Final = "premium_monthly"
PACE_UNLIMITED: Final = {"MESSAGES_PER_SECOND": "1000"}
"""Without it the desk's own pace of 25 messages a second would be all that a loop of purchases measures."""

_CATALOG: Final = f"""
[plans.{PLAN}]
title = "Premium, 30 days"
description = "Everything, for 30 days"
entitlement = "premium"
stars = 200
days = 30
"""
CATALOG: Final = parse_catalog(_CATALOG, "the catalog of the bench")


@asynccontextmanager
async def desk_program(
    url: str, more: Mapping[str, str] = MappingProxyType({}), *, checkout: Path = ROOT
) -> AsyncIterator[Program]:
    """Give the desk's program on the database at `url`, of any checkout; `more` are settings."""
    with TemporaryDirectory(prefix="starledger-bench-") as directory:
        catalog = Path(directory) / "catalog.toml"
        catalog.write_text(_CATALOG)
        settings = {"DATABASE_URL": url, "CATALOG_FILE": str(catalog), "PYTHONPATH": str(checkout), **more}
        # -P keeps the bench's own folder out of the path: its modules have the names of others.
        command = ["-P", str(ROOT / "bench" / "desk_program.py")]
        yield Program(DESK if checkout == ROOT else OTHER_DESK, command, settings)


@asynccontextmanager
async def fresh_urls(engine: str, count: int) -> AsyncIterator[list[str]]:
    """Give the addresses of so many empty databases on one engine."""
    async with AsyncExitStack() as stack:
        cluster = stack.enter_context(fresh_cluster()) if engine == "postgresql" else None
        yield [await stack.enter_async_context(_empty_database(cluster)) for _ in range(count)]


@asynccontextmanager
async def _empty_database(cluster: Cluster | None) -> AsyncIterator[str]:
    if cluster is not None:
        async with cluster.database() as url:
            yield url
        return
    with TemporaryDirectory(prefix="starledger-bench-") as directory:
        yield f"sqlite+aiosqlite:///{Path(directory) / 'bench.db'}"
