"""The key of the desk's lock on PostgreSQL, and the session that holds the lock."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from sqlalchemy import Connection, text

from db.errors import WrongDatabaseError, another_bots

FORMER_KEY: Final = 0x737461726C6501
"""The one key of all desks of former versions, whatever their schema: a desk waits for such a desk that runs.

We need not hold it against one that starts later, because a former program refuses the newer schema and ends.
"""

_IS_KEY: Final = """
    locktype = 'advisory' AND granted AND objsubid = 1
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32 | objid::bigint)
"""
# Each query names the function that takes the lock, so that pg_stat_activity shows what it is about.
TRY: Final = f"""
    SELECT pg_backend_pid() AS pid, CASE
        WHEN EXISTS (SELECT 1 FROM pg_locks WHERE {_IS_KEY} = {FORMER_KEY}) THEN false
        ELSE pg_try_advisory_lock($1)
    END AS is_held
"""  # noqa: S608 - constants of ours
"""Takes the lock of a key unless a session holds it; returns the server's process that took it."""
# A session is no desk, whatever it calls itself, if its role is not our own and may not write a desk's rows.
# A role without rights sees the application name of others' sessions, and not their start.
_HOLDER: Final = f"""
    SELECT pid, usename AS role, application_name AS application, backend_start AS since,
        usename = current_user OR coalesce(has_table_privilege(usesysid, to_regclass('stripe_events'), 'INSERT'), false)
        AS may_be_desk
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE {_IS_KEY} IN ($1, {FORMER_KEY})
    ORDER BY pid LIMIT 1 -- who has pg_try_advisory_lock
"""  # noqa: S608 - constants of ours
_MIGRATOR: Final = f"""
    SELECT pid, usename AS role, application_name AS application, backend_start AS since
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE {_IS_KEY} = :key
    ORDER BY pid LIMIT 1
"""  # noqa: S608 - constants of ours
_PLACE: Final = """
    SELECT current_schema() AS schema, to_regclass(quote_ident(current_schema()) || '.desk') IS NOT NULL AS has_desk
    -- for pg_try_advisory_lock
"""
_OWNER: Final = "SELECT bot_id FROM desk -- for pg_try_advisory_lock"


@dataclass(frozen=True, slots=True)
class Holder:
    """The session that holds the desk's lock."""

    pid: int
    words: str
    """Role, application, process and start of the session, for a person."""
    application: str
    may_be_desk: bool

    def __str__(self) -> str:
        """Return the holder's description for a person."""
        return self.words


def key_of(bot_id: int, schema: str) -> int:
    """Return the key of the desk's lock for one bot in one schema: positive, of 63 bits."""
    digest = hashlib.sha256(f"starledger:{bot_id}:{schema}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


async def find_key(connection: Any, bot_id: int) -> int:
    """Find the key of the desk's lock, by schema and bot; `bot_id` 0: the bot that owns the schema.

    Raises WrongDatabaseError when the database belongs to another bot, or when the schema in search_path does not
    exist.
    """
    place = await connection.fetchrow(_PLACE)
    if place["schema"] is None:
        raise WrongDatabaseError(
            "the schema that search_path names (DATABASE_URL, or the role's own) does not exist: CREATE SCHEMA makes it"
        )
    owner = None
    if place["has_desk"]:
        try:
            owner = await connection.fetchval(_OWNER)
        except (asyncpg.UndefinedColumnError, asyncpg.InsufficientPrivilegeError):
            # Another program's table, or one that our role may not read: the migration reports that.
            owner = None
    if owner is not None and bot_id not in {0, owner}:
        raise another_bots(owner, bot_id)
    return key_of(bot_id or owner or 0, place["schema"])


async def find_holder(connection: Any, key: int) -> Holder | None:
    """Find the session that holds the desk's lock; None: no session holds it at this moment."""
    row = await connection.fetchrow(_HOLDER, key)
    if row is None:
        return None
    return Holder(row["pid"], _in_words(row), row["application"] or "", row["may_be_desk"])


def find_migration_lock_holder(connection: Connection, key: int) -> str:
    """Return the session that holds the lock of migrations, in words for a person."""
    row = connection.execute(text(_MIGRATOR), {"key": key}).mappings().first()
    return "nobody at this moment" if row is None else _in_words(dict(row))


def _in_words(row: Mapping[str, Any]) -> str:
    since = f", since {row['since']:%Y-%m-%d %H:%M:%S} UTC" if row["since"] is not None else ""
    return f"user {row['role']}, application {row['application'] or 'without a name'}, process {row['pid']}{since}"
