"""What the operator's commands do and print. None of it imports aiogram but what calls Telegram."""

import getpass
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from rich.console import Console

from bot.settings import Settings
from db.clock import utc_now
from db.engine import Database
from db.migrate import migrate
from db.tables import Outcome
from payments import refunds
from payments.errors import RefundRefusal, RefundRefusedError
from payments.pending import LISTED_MAX, Retry, list_pending, retry
from payments.quarantine import QUARANTINE_PREFIX

_REFUSALS = {
    RefundRefusal.UNKNOWN: "there is no charge of this id",
    RefundRefusal.ALREADY_REFUNDED: "it was given back before",
    RefundRefusal.UNDER_WAY: "its refund was asked for before, and is under way: see `pending`",
    RefundRefusal.NOT_OURS: "another service wrote it, and refunds it",
}
_RETRIES = {
    Retry.BEGUN: "taken up again: the running desk does it within seconds, else the next start",
    Retry.NOT_WAITING: "does not wait: it has come to its end",
    Retry.UNKNOWN: "is not known here: `pending` lists what waits",
    Retry.STILL_UNRECORDABLE: "still cannot be recorded: it stays in the table quarantine",
}


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """Open the desk's database, brought up to date and known to be this bot's. Raises as db.migrate.migrate."""
    database = Database(settings.database_url.get_secret_value())
    try:
        await migrate(database, settings.bot_id)
        yield database
    finally:
        await database.dispose()


async def print_pending(settings: Settings, console: Console) -> None:
    """Print what waits for its next attempt or for an admin, the oldest first."""
    async with open_database(settings) as database, database.reading() as session:
        found = await list_pending(session)
    if not found.count:
        console.print("Nothing waits: every payment and refund has come to its end.")
        return
    for event, user in found.events:
        kind = "charge" if event.refund_of is None else "refund"
        state = "parked" if event.outcome == Outcome.PARKED else "open"
        money = f"{event.amount_cents} {event.currency}"
        head = (_minute(event.created_at), kind, money, f"user {user.telegram_id or user.id}", state, event.error or "")
        console.print("  ".join(head).rstrip(), f"    retry {event.event_id}", sep="\n")
    for row in found.quarantined:
        since = _minute(row.created_at)
        console.print(f"{since}  update  quarantined  {row.reason}\n    retry {QUARANTINE_PREFIX}{row.id}")
    if found.count > LISTED_MAX:
        console.print(f"{found.count} in all.")


async def retry_one(settings: Settings, waiting_id: str, console: Console) -> bool:
    """Take up again what waits, and print what came of it; False when there was nothing to take up."""
    async with open_database(settings) as database, database.transaction() as session:
        came = await retry(session, waiting_id, utc_now())
    console.print(f"{waiting_id} {_RETRIES[came]}")
    return came is Retry.BEGUN


async def refund_one(settings: Settings, charge_id: str, reason: str | None, console: Console) -> bool:
    """Ask for a refund and send it, beside a running desk or without one; False when it was refused or has to wait.

    The buyer is told by the running desk, else by the next start.
    """
    if reason is not None and len(reason) > refunds.REASON_LENGTH_MAX:
        console.print(f"{charge_id} is not refunded: a reason has at most {refunds.REASON_LENGTH_MAX} characters.")
        return False
    async with open_database(settings) as database:
        try:
            async with database.transaction() as session:
                refund = await refunds.ask(
                    session,
                    charge_id,
                    reason=reason,
                    requested_by=f"cli:{getpass.getuser()}",
                    reply_chat_id=None,
                    now=utc_now(),
                )
        except RefundRefusedError as error:
            console.print(f"{charge_id} is not refunded: {_REFUSALS[error.refusal]}.")
            return False
        from bot.app import process_once  # noqa: PLC0415 - imports aiogram

        done = await process_once(settings, database, refund.event_id)
    if done is not None and done.outcome == Outcome.REFUNDED:
        console.print(f"{charge_id}: {refund.amount_cents} {refund.currency} given back, the access ended.")
        return True
    why = done.error if done is not None else "the running desk is at it"
    console.print(f"{charge_id}: the refund is on record and goes on by itself: {why}. See `pending`.")
    return False


def _minute(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else ""
