"""Checks of the database: its schema, the plans sold, the backlog, the access, the ledger's drift, Stripe's events."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from sqlalchemy import select

from bot.console.doctor.checks import Check, Level, failure, ok, warning
from bot.console.doctor.postgresql import ask_for_lock, look_at_lock, words_of_lock
from bot.console.printing import minute
from bot.settings import Settings
from db.address import SqliteAddress, parse_database_url
from db.clock import utc_now
from db.engine import Database
from db.errors import UnfitServerError, WrongDatabaseError, is_away
from db.migrate import read_schema
from db.states import ORIGIN, EventOutcome
from db.tables import MovedChat, StripeEvent, StripeReading
from entitlements.unexplained import find_unexplained
from payments.ledger.drift import read_drift
from payments.payment_desk import PaymentDesk
from payments.sale.catalog import Catalog
from payments.sale.payload import PayloadSigner

ROWS_SHOWN: Final = 3
TYPE_LENGTH_SHOWN: Final = 40


async def look_at_database(settings: Settings, catalog: Catalog | None) -> AsyncIterator[Check]:
    """Check a database without changing it; without a catalog, leave out the plans sold."""
    missing = _missing_file(settings)
    if missing is not None:
        yield warning("database", f"{missing} is not there yet", "the first start makes it")
        return
    database = Database(settings.database_url.get_secret_value())
    try:
        async for check in _look_at_records(settings, database, catalog):
            yield check
    except (WrongDatabaseError, UnfitServerError) as error:
        yield failure("database", str(error), "mend DATABASE_URL, as .env.example says")
    except Exception as error:
        if not is_away(error):
            raise
        said = str(error).partition("\n")[0]
        yield failure("database", f"does not answer: {type(error).__name__}: {said}", "start it, or mend DATABASE_URL")
    finally:
        await database.dispose()


def _missing_file(settings: Settings) -> Path | None:
    """Return the missing database file, which a connection would make; None: no file is missing."""
    address = parse_database_url(settings.database_url.get_secret_value())
    return address.path if isinstance(address, SqliteAddress) and not address.path.exists() else None


async def _look_at_records(settings: Settings, database: Database, catalog: Catalog | None) -> AsyncIterator[Check]:
    # The lock comes first, because behind a pooler that mixes connections every other question fails in its own words.
    lock = await ask_for_lock(settings)
    schema = await _look_at_schema(settings, database)
    if schema.level is not Level.OK:
        yield schema
        return
    yield ok(schema.subject, schema.words + words_of_lock(lock))
    for check in look_at_lock(settings, lock):
        yield check
    if catalog is not None:
        signer = PayloadSigner(settings.telegram_bot_token.get_secret_value())
        yield await _look_at_sold(database, catalog, signer)
    async for check in _look_at_backlog(database):
        yield check
    async for check in _look_at_admin_chat(settings, database):
        yield check
    yield await _look_at_access(database)
    yield await _look_at_drift(database)
    async for check in _look_at_stripe_reading(database):
        yield check


async def _look_at_schema(settings: Settings, database: Database) -> Check:
    there = await read_schema(database)
    if there.bot_id not in {None, settings.bot_id}:
        mend = "give each bot a database of its own (DATABASE_URL)"
        return failure("database", f"belongs to the bot {there.bot_id}, the token is of {settings.bot_id}", mend)
    if not there.is_known:
        mend = "install the newer Starledger again, or restore a backup of before it"
        return failure("database", f"is at revision {there.revision}, of a newer Starledger", mend)
    if there.revision != there.head:
        was = f"at revision {there.revision} of {there.head}" if there.revision else "empty"
        return warning("database", f"is {was}", "the next start brings it up to date, or `migrate` does")
    return ok("database", f"answers, and is up to date (revision {there.revision})")


async def _look_at_sold(database: Database, catalog: Catalog, signer: PayloadSigner) -> Check:
    sold = await plans_sold(database, signer)
    missing = sorted(sold.keys() - catalog.plans.keys())
    if missing:
        mend = "write them into the catalog again, with retired = true: renewals are parked without"
        return failure("plans sold", f"not in the catalog any more: {', '.join(missing)}", mend)
    return ok("plans sold", f"{sold.total()} charges of {len(sold)} plans, all in the catalog")


async def _look_at_admin_chat(settings: Settings, database: Database) -> AsyncIterator[Check]:
    """Warn of an admins' group that became a supergroup, with the new id."""
    chat_id = settings.admin_chat_id
    if chat_id is None:
        return
    async with database.reading() as session:
        moved_to = await session.scalar(select(MovedChat.moved_to).where(MovedChat.chat_id == chat_id))
    if moved_to is not None:
        words = f"{chat_id} became a supergroup: its id is {moved_to} now"
        yield warning("admins' group", words, f"put {moved_to} into ADMIN_CHAT_ID")


async def _look_at_backlog(database: Database) -> AsyncIterator[Check]:
    backlog = await PaymentDesk(database, utc_now).read_backlog()
    parked, quarantined = backlog.events["parked"], backlog.quarantined
    if parked.count or quarantined.count or backlog.renewals:
        words = (
            f"{parked.count} payments or refunds wait for you, {quarantined.count} updates could not be recorded, "
            f"{backlog.renewals} subscriptions could not be cancelled"
        )
        yield warning("decisions", words, "`pending` lists them, with the command that continues each")
    else:
        yield ok("decisions", "nothing waits for you")
    failed = backlog.events["failed"]
    if failed.count:
        words = f"{failed.count} are tried again and again, the oldest since {minute(failed.oldest_at)}"
        yield warning("attempts", words, "`pending` says why they fail")
    waiting = backlog.events["pending"].count
    yield ok("queue", f"{waiting} payments or refunds under way, {backlog.notices.count} messages to be delivered")


async def _look_at_access(database: Database) -> Check:
    async with database.reading() as session:
        found = [each async for each in find_unexplained(session)]
    if not found:
        return ok("access", "every row of entitlements is explained by its grants")
    shown = ", ".join(f"{kind[:TYPE_LENGTH_SHOWN]} of user {user_id}" for user_id, kind in found[:ROWS_SHOWN])
    more = f" and {len(found) - ROWS_SHOWN} more" if len(found) > ROWS_SHOWN else ""
    mend = "who writes there beside the desk? Take that right away (docs/database.md); `grant` gives access by hand"
    return warning("access", f"{len(found)} rows of entitlements are explained by no grant: {shown}{more}", mend)


async def _look_at_drift(database: Database) -> Check:
    async with database.reading() as session:
        drift = await read_drift(session)
    if drift is not None and drift.is_pass_wanted:
        mend = "start the desk: it reads Telegram's ledger first, and settles nothing else until then"
        return warning("ledger", "a pass over the whole of it is wanted, or under way", mend)
    if drift is None or drift.compared_at is None:
        return ok("ledger", "was not compared yet")
    words = f"compared {minute(drift.compared_at)}, {drift.row_count} rows"
    if drift.stars or drift.balance_off_nanostars:
        words += f": our rows have {drift.stars} Stars more, the balance is {drift.balance_off_nanostars} nanostars off"
        return failure("ledger", words, "`reconcile --full` lists what nothing explains")
    return ok("ledger", f"{words}: no drift")


async def _look_at_stripe_reading(database: Database) -> AsyncIterator[Check]:
    """Check how far the desk has read Stripe's events, and how many were of charges that are not ours."""
    async with database.reading() as session:
        reading = await session.scalar(select(StripeReading))
    if reading is not None:
        words = f"read until {minute(reading.read_at)}, {reading.foreign_count} of them about charges that are not ours"
        yield ok("stripe events", words)


BATCH: Final = 5_000


async def plans_sold(database: Database, signer: PayloadSigner) -> Counter[str]:
    """Count the granted charges by the code of their plan, in short reads."""
    sold: Counter[str] = Counter()
    # Settlement has proved a granted charge; the token of its signature may be gone.
    trusting = signer.trusting()
    last = ""
    while True:
        query = (
            select(StripeEvent.id, StripeEvent.payload)
            .where(StripeEvent.id > last, StripeEvent.origin == ORIGIN, StripeEvent.outcome == EventOutcome.GRANTED)
            .order_by(StripeEvent.id)
            .limit(BATCH)
        )
        async with database.reading() as session:
            rows = (await session.execute(query)).all()
        orders = [trusting.read(payload or "").order for _, payload in rows]
        sold.update(order.plan for order in orders if order is not None)
        if len(rows) < BATCH:
            return sold
        last = rows[-1][0]
