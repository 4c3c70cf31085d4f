"""SQLite's driver with one visit to its thread for each statement, because the visits cost more than the statements.

aiosqlite runs each call on the connection's own thread, and each of these visits wakes two threads that compete for one
interpreter lock. SQLAlchemy's adapter visits four times for a SELECT (cursor, execute, fetchall, close) and three times
for a BEGIN. Here BEGIN goes with its transaction's first statement, a statement with all its rows is one visit, COMMIT
is one, and there is none for the rollback by which the pool takes back a connection that has nothing open.

SQLAlchemy asks for a connection, and so for BEGIN, only when it has a first statement: no lock is taken any later.
The classes rely on internals of both packages, which tests/db/test_sqlite_driver.py holds.
"""

from collections import deque
from collections.abc import Sequence
from contextlib import closing
from typing import Any, NamedTuple

from sqlalchemy import Connection, Dialect, event
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_connection, AsyncAdapt_aiosqlite_cursor
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util import await_


def use_one_visit_each(engine: AsyncEngine, begin: str) -> None:
    """Have an engine connect by this driver, and open each transaction by the statement `begin`."""

    @event.listens_for(engine.sync_engine, "do_connect")
    def _connect(dialect: Dialect, _entry: ConnectionPoolEntry, args: Any, options: Any) -> "SqliteConnection":
        adapted: Any = dialect.connect(*args, **options)
        return SqliteConnection(adapted.dbapi, adapted.driver_connection)

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        driver: Any = connection.connection.dbapi_connection
        driver.begin_with_next(begin)


class _Result(NamedTuple):
    """A statement's result, with the names of DBAPI (PEP 249), and whether a transaction is open behind it."""

    description: Any = None
    rowcount: int = -1
    lastrowid: int | None = None
    rows: Sequence[Any] = ()
    in_transaction: bool = False


class SqliteConnection(AsyncAdapt_aiosqlite_connection):
    """A connection to SQLite that begins a transaction in the visit of its first statement."""

    __slots__ = ("_begin", "_may_be_open")

    def __init__(self, dbapi: Any, connection: Any) -> None:
        super().__init__(dbapi, connection)
        self._begin: str | None = None
        self._may_be_open = False

    def begin_with_next(self, begin: str) -> None:
        """Keep the statement `begin` for the visit of the next statement, until one has succeeded."""
        self._begin = begin

    def visit(self, method: str, statement: str, parameters: Any) -> _Result:
        """Run a statement by a method of sqlite3's cursor, behind the BEGIN that is kept; return all that it gives.

        Raises sqlite3.Error.
        """
        # It stays so after an error, and after a cancelled wait: the thread then still runs the statement.
        self._may_be_open = True
        driver: Any = self._connection
        execute = driver._execute  # noqa: SLF001 - aiosqlite has no public way to run a function on the thread
        try:
            result: _Result = await_(execute(_run, driver, self._begin, method, statement, parameters))
        except Exception as error:  # noqa: BLE001 - SQLAlchemy's handler raises it, or a better one
            self._handle_exception(error)
        # After an error the next statement brings BEGIN again, because behind a refused one it would commit alone.
        self._begin = None
        self._may_be_open = result.in_transaction
        return result

    def cursor(self, server_side: bool = False) -> "_Cursor":  # noqa: FBT001, FBT002 - SQLAlchemy's signature
        """Return a new cursor. Raises NotSupportedError for one that would leave its rows at the database."""
        if server_side:
            raise self.dbapi.NotSupportedError("a statement on SQLite fetches all its rows in one visit")
        return _Cursor(self)

    def commit(self) -> None:
        """Commit the transaction; none may be open."""
        self._begin = None
        if self._may_be_open:
            super().commit()
            self._may_be_open = False

    def rollback(self) -> None:
        """Roll the transaction back; none may be open."""
        self._begin = None
        if self._may_be_open:
            super().rollback()
            self._may_be_open = False


class _Cursor(AsyncAdapt_aiosqlite_cursor):
    """A cursor of SQLAlchemy's for one statement, whose rows it holds."""

    __slots__ = ("_result",)

    arraysize: int = 1
    """DBAPI's default, the only one in use."""

    def __init__(self, adapt_connection: SqliteConnection) -> None:
        self._adapt_connection: SqliteConnection = adapt_connection
        self._hold(_Result())

    def execute(self, operation: Any, parameters: Any = None) -> None:
        self._hold(self._adapt_connection.visit("execute", operation, () if parameters is None else parameters))

    def executemany(self, operation: Any, seq_of_parameters: Any) -> None:
        self._hold(self._adapt_connection.visit("executemany", operation, seq_of_parameters))

    def _hold(self, result: _Result) -> None:
        self._result = result
        self._rows = deque(result.rows)

    @property
    def description(self) -> Any:
        return self._result.description

    @property
    def rowcount(self) -> int:
        return self._result.rowcount

    @property
    def lastrowid(self) -> Any:
        return self._result.lastrowid

    def close(self) -> None:
        self._rows.clear()

    async def _async_soft_close(self) -> None:
        """Do nothing, because the visit has closed SQLite's own cursor."""


def _run(driver: Any, begin: str | None, method: str, statement: str, parameters: Any) -> _Result:
    """Run a statement on the connection's thread."""
    connection = driver._conn  # noqa: SLF001 - sqlite3's connection, on the one thread that uses it
    with closing(connection.cursor()) as cursor:
        if begin is not None and not connection.in_transaction:
            cursor.execute(begin)
        getattr(cursor, method)(statement, parameters)
        rows = cursor.fetchall() if cursor.description and method == "execute" else ()
        return _Result(cursor.description, cursor.rowcount, cursor.lastrowid, rows, connection.in_transaction)
