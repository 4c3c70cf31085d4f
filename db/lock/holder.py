"""Which advisory lock of PostgreSQL's is a desk's, and who holds it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from sqlalchemy import Connection, text

from db.errors import WrongDatabaseError, another_bots

FORMER_KEY: Final = 0x737461726C6501
"""The one key of all desks of former versions, whatever their schema: such a desk that runs is waited for.

It need not be held by us against one that starts later, because a former program refuses the newer schema and ends.
"""

_IS_KEY: Final = """
    locktype = 'advisory' AND granted AND objsubid = 1
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32 | objid::bigint)
"""
# The name of the function that takes the lock stands in each question, for whoever reads pg_stat_activity.
TRY: Final = f"""
    SELECT pg_backend_pid() AS pid, CASE
        WHEN EXISTS (SELECT 1 FROM pg_locks WHERE {_IS_KEY} = {FORMER_KEY}) THEN false
        ELSE pg_try_advisory_lock($1)
    END AS is_held
"""  # noqa: S608 - constants of ours
"""Takes the lock of a key unless somebody has it; says which process of the server did so."""
# A stranger is who neither is our own role nor may write what a desk writes: it is no desk, whatever it calls itself.
# Of others' sessions a role without rights sees the name of the program, and not since when they are there.
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
    """Who holds a desk's lock."""

    pid: int
    words: str
    """Role, program and since when, for a person."""
    application: str
    may_be_desk: bool

    def __str__(self) -> str:
        """For a person."""
        return self.words


def key_of(bot_id: int, schema: str) -> int:
    """Return the key of the lock of one bot's desk in one schema: positive, of 63 bits."""
    digest = hashlib.sha256(f"starledger:{bot_id}:{schema}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


async def find_key(connection: Any, bot_id: int) -> int:
    """Return the key of the desk whose database or schema this is; `bot_id` 0: of whoever it is.

    Raises WrongDatabaseError when it is another bot's, or when the schema that search_path names is not there.
    """
    place = await connection.fetchrow(_PLACE)
    if place["schema"] is None:
        raise WrongDatabaseError(
            "the schema that search_path names (DATABASE_URL, or the role's own) is not there: CREATE SCHEMA makes it"
        )
    owner = None
    if place["has_desk"]:
        try:
            owner = await connection.fetchval(_OWNER)
        except (asyncpg.UndefinedColumnError, asyncpg.InsufficientPrivilegeError):
            # A table of somebody else's, or closed to us: what is to be said of that the migration says.
            owner = None
    if owner is not None and bot_id not in {0, owner}:
        raise another_bots(owner, bot_id)
    return key_of(bot_id or owner or 0, place["schema"])


async def find_holder(connection: Any, key: int) -> Holder | None:
    """Return who holds the lock; None: nobody, at this moment."""
    row = await connection.fetchrow(_HOLDER, key)
    if row is None:
        return None
    return Holder(row["pid"], _in_words(row), row["application"] or "", row["may_be_desk"])


def find_migrator(connection: Connection, key: int) -> str:
    """Return who holds the lock of a migration, in words for a person; over a connection of SQLAlchemy's."""
    row = connection.execute(text(_MIGRATOR), {"key": key}).mappings().first()
    return "nobody at this moment" if row is None else _in_words(dict(row))


def _in_words(row: Mapping[str, Any]) -> str:
    since = f", since {row['since']:%Y-%m-%d %H:%M:%S} UTC" if row["since"] is not None else ""
    return f"user {row['role']}, application {row['application'] or 'without a name'}, process {row['pid']}{since}"
