"""Checks of a PostgreSQL: the server in use, its TLS, and the holder of the desk's lock."""

from collections.abc import Iterator

from bot.console.doctor.checks import Check, failure, warning
from bot.settings import Settings
from db.address import PostgresAddress, parse_database_url
from db.lock import LockReport, read_lock_report


async def ask_for_lock(settings: Settings) -> LockReport | None:
    """Ask PostgreSQL for its place and for the holder of the desk's lock; None: the database is a file.

    Raises WrongDatabaseError behind a pooler in transaction mode, and what db.dial raises.
    """
    url = settings.database_url.get_secret_value()
    return (
        await read_lock_report(url, settings.bot_id) if isinstance(parse_database_url(url), PostgresAddress) else None
    )


def words_of_lock(report: LockReport | None) -> str:
    """Return the words about the lock, for the line of a database that is well."""
    if report is None:
        return ""
    over = "TLS" if report.is_tls else "no TLS"
    who = f"the desk's lock is held by {report.holder}" if report.holder is not None else "no desk has its lock"
    return f"; at {report.server}, {over}; {who}"


def look_at_lock(settings: Settings, report: LockReport | None) -> Iterator[Check]:
    """Check the connection to PostgreSQL for the weaknesses that the address allows, and nobody may have meant."""
    address = parse_database_url(settings.database_url.get_secret_value())
    if report is None or not isinstance(address, PostgresAddress):
        return
    if report.holder is not None and not report.holder.may_be_desk:
        mend = f"a superuser ends that: SELECT pg_terminate_backend({report.holder.pid})"
        yield failure("lock", f"is with somebody who is no desk: {report.holder}", mend)
    if address.parameters.is_bound_to_channel and not address.parameters.tls.mode.startswith("verify"):
        mend = "write sslmode=verify-full&sslrootcert=system into DATABASE_URL, or the file of your own authority"
        yield warning("tls", "channel_binding=require cannot be had from here, so nothing proves the server", mend)
