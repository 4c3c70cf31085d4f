"""Fixtures of all tests, and the plugins that bring the others.

Here: a migrated database (`database`), on one engine (`sqlite_database`, `postgresql_database`), its address
alone (`database_url`), an empty one (`empty_database_url`), a maker of many (`databases`), and a clock (`clock`). A
database is a copy of one that was migrated once a worker. PostgreSQL starts at the first test that needs it, once for
all xdist workers, in memory where there is room, and ends with the run.

The folder's README lists what there is for a test, fixtures and helpers, and when to take which.
"""

import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final
from uuid import uuid4

import pytest
import pytest_asyncio
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from hypothesis import HealthCheck, settings
from sqlalchemy.engine import make_url

from db.engine import POOL_SIZE, Database
from db.migrate import migrate
from db.timings import PRODUCTION, Timings
from tests.support.clock import FakeClock
from tests.support.postgresql import Cluster, cluster_directory, remove_cluster

BOT_ID: Final = 1000001
"""The bot that owns the migrated databases: the number before the colon of the tests' bot token."""

LOCALES: Final = Path(__file__).parents[1] / "bot" / "locales"

Databases = Callable[[], AbstractAsyncContextManager[str]]
"""Makes a migrated database, gives its `DATABASE_URL` to the block, and takes it away at the end."""

# No test is timed: how long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

_CLUSTER_DIRECTORY: Final = pytest.StashKey[Path]()


def _compile_texts() -> None:
    """Compile each file of texts that is newer than its compiled one, because pytest is started without make too."""
    for source in LOCALES.rglob("*.po"):
        compiled = source.with_suffix(".mo")
        if not compiled.exists() or compiled.stat().st_mtime < source.stat().st_mtime:
            # Renamed when it is whole: another run of the tests may read it.
            with source.open("rb") as texts, NamedTemporaryFile(dir=source.parent, suffix=".mo", delete=False) as file:
                write_mo(file, read_po(texts))
            Path(file.name).chmod(0o644)
            Path(file.name).replace(compiled)


# Before any conftest.py below this one is imported: most import the texts.
_compile_texts()


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.stash[_CLUSTER_DIRECTORY] = Path(config.workerinput["cluster_directory"])
    else:
        config.stash[_CLUSTER_DIRECTORY] = cluster_directory()
        # A run that is told to end, as by a time-out, ends like one that is interrupted: with its PostgreSQL.
        signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["cluster_directory"] = str(node.config.stash[_CLUSTER_DIRECTORY])


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        remove_cluster(config.stash[_CLUSTER_DIRECTORY])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster(request: pytest.FixtureRequest) -> Cluster:
    cluster = Cluster(request.config.stash[_CLUSTER_DIRECTORY])
    await cluster.forget_durability()
    return cluster


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgresql_template(cluster: Cluster) -> AsyncIterator[str]:
    """Give the name of a migrated database, one for each worker, that tests get copies of."""
    async with cluster.database() as url:
        await _migrated(url)
        name = make_url(url).database
        assert name is not None
        yield name


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the path of a migrated file that tests get copies of."""
    path = tmp_path_factory.mktemp("template") / "desk.sqlite"
    await _migrated(_sqlite_url(path))
    return path


async def _migrated(url: str) -> None:
    database = Database(url)
    await migrate(database, BOT_ID)
    await database.dispose()


def _sqlite_url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    return _sqlite_url(Path(shutil.copy(sqlite_template, tmp_path / "desk.sqlite")))


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    return _sqlite_url(tmp_path / "empty.sqlite")


@pytest_asyncio.fixture
async def postgresql_url(cluster: Cluster, postgresql_template: str) -> AsyncIterator[str]:
    async with cluster.database(postgresql_template) as url:
        yield url


@pytest_asyncio.fixture
async def empty_postgresql_url(cluster: Cluster) -> AsyncIterator[str]:
    async with cluster.database() as url:
        yield url


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once on each engine that its `engines` marker names."""
    marker = metafunc.definition.get_closest_marker("engines")
    if marker is not None and "engine_name" in metafunc.fixturenames:
        metafunc.parametrize("engine_name", marker.args)


@pytest.fixture
def engine_name() -> str:
    """Name the engine of the test's database: SQLite, unless the test or its module has the marker `engines`.

    Choose `pytest.mark.engines("sqlite", "postgresql")` for what PostgreSQL can change: locks and concurrency,
    constraints, triggers and indexes, types and time zones, SQL of two dialects, a statement that fails inside a
    transaction, counted statements, and the main test of each rule of money. Leave words, pages, handlers and rules
    over the same statements on SQLite, because a repeat costs twice the time and sees nothing more.
    `pytest.mark.engines("postgresql")` is for what SQLite does not have. The marker nearest to the test counts.
    """
    return "sqlite"


@pytest.fixture
def database_url(engine_name: str, request: pytest.FixtureRequest) -> str:
    """Give the `DATABASE_URL` of a migrated database of the bot `BOT_ID`, on the engine `engine_name`."""
    url: str = request.getfixturevalue(f"{engine_name}_url")
    return url


@pytest.fixture
def empty_database_url(engine_name: str, request: pytest.FixtureRequest) -> str:
    """Give the `DATABASE_URL` of a database with nothing in it, on the engine `engine_name`."""
    url: str = request.getfixturevalue(f"empty_{engine_name}_url")
    return url


@pytest.fixture
def opened() -> list[Database]:
    """Give the databases that the test has opened by `open_database`."""
    return []


@pytest.fixture
def databases(engine_name: str, request: pytest.FixtureRequest, tmp_path: Path, opened: list[Database]) -> Databases:
    """Give a maker of migrated databases, for a test that needs many of them, on the engine `engine_name`.

    A database that `open_database` has opened is closed before it is dropped.
    """
    template: Any = request.getfixturevalue(f"{engine_name}_template")
    if engine_name == "postgresql":
        cluster: Cluster = request.getfixturevalue("cluster")

        @asynccontextmanager
        async def copy() -> AsyncIterator[str]:
            async with cluster.database(template) as url:
                yield url
                for database in opened:
                    await database.dispose()

        return copy

    @asynccontextmanager
    async def make() -> AsyncIterator[str]:
        yield _sqlite_url(Path(shutil.copy(template, tmp_path / f"{uuid4().hex}.sqlite")))

    return make


@pytest_asyncio.fixture
async def open_database(opened: list[Database]) -> AsyncIterator[Callable[[str], Database]]:
    """Give what opens the database at a `DATABASE_URL`, as often as the test likes; all are closed at its end.

    Also when it fails: a connection to SQLite that is left open is a thread that keeps pytest from ending.
    """

    def open_(url: str, timings: Timings = PRODUCTION, pool_size: int = POOL_SIZE) -> Database:
        opened.append(Database(url, timings, pool_size))
        return opened[-1]

    yield open_
    for database in opened:
        await database.dispose()


@pytest.fixture
def database(database_url: str, open_database: Callable[[str], Database]) -> Database:
    """Give a migrated database of the bot `BOT_ID`, on the engine `engine_name`."""
    return open_database(database_url)


@pytest.fixture
def postgresql_database(postgresql_url: str, open_database: Callable[[str], Database]) -> Database:
    return open_database(postgresql_url)


@pytest.fixture
def sqlite_database(sqlite_url: str, open_database: Callable[[str], Database]) -> Database:
    return open_database(sqlite_url)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def exported(sqlite_database: Database, clock: FakeClock) -> dict[str, set[str]]:
    """Give the labels of every metric that the desk exports, by its name."""
    from tests.support.exported import exported_metrics  # noqa: PLC0415 - imports aiogram, which most tests do without

    return await exported_metrics(sqlite_database, clock)
