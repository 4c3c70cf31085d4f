"""The command `history`: one user's payments, refunds, grants and present access."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import typer
from rich.console import Console

from bot.console.database import open_database
from bot.console.printing import NAME_LENGTH_MAX, minute, money, shown
from bot.settings import Settings
from db.clock import utc_now
from db.limits import TELEGRAM_ID_MAX
from db.tables import EntitlementGrant, StripeEvent
from payments.notices import is_typable
from payments.payment_desk import Entry, PaymentDesk, UserRecord

_BY_NAME: Final = "A @username may have changed hands since: it is whose it was when the bot last saw it. The id stays."

PAGES_MAX: Final = 200
"""Pages of one user that are printed: the latest 1,000 payments and refunds; `export` has all."""


async def print_history(settings: Settings, who: str, console: Console) -> bool:
    """Print the history of a Telegram id or a @username, newest first; False: the desk knows nobody by it."""
    async with open_database(settings) as database:
        records = await _read(PaymentDesk(database, utc_now), who)
    # A person reads a pager for long, and no transaction stays open meanwhile.
    if records:
        console.print(*(line for record in records for line in _lines_of(record)), sep="\n")
        if not who.isdecimal():
            typer.echo(_BY_NAME, err=True)
    else:
        console.print(f"Nobody is known here as {who}: it takes a Telegram id, or the @username of the last payment.")
    return bool(records)


async def _read(payments: PaymentDesk, who: str) -> Sequence[UserRecord]:
    if not (who.isascii() and who.isdecimal()):
        return await payments.read_records(who.removeprefix("@"), PAGES_MAX)
    return await payments.read_records(int(who), PAGES_MAX) if int(who) <= TELEGRAM_ID_MAX else ()


def _lines_of(record: UserRecord) -> list[str]:
    user = record.user
    name = f"@{shown(user.username, NAME_LENGTH_MAX)}  " if user.username else ""
    erased = f"  erased {minute(user.erased_at)}" if user.erased_at else ""
    lines = [f"{name}{user.telegram_id}  since {minute(user.created_at)}{erased}"]
    for entry in record.entries:
        lines += _of_entry(entry)
    for grant in record.grants:
        lines += _of_grant(grant)
    has = [f"{shown(each.entitlement_type, NAME_LENGTH_MAX)} {_until(each.expires_at)}" for each in record.holdings]
    return [*lines, f"has now: {', '.join(has) or 'nothing'}", ""]


def _of_entry(entry: Entry) -> list[str]:
    event = entry.event
    moment = event.webhook_timestamp or event.created_at or event.processed_at
    kind = "refund" if entry.is_refund else "charge"
    head = (minute(moment), kind, money(event.amount_cents, event.currency), entry.state.value, _name_of(event))
    lines = ["  ".join(head)]
    if event.reason or event.requested_by:
        by = shown(event.requested_by, NAME_LENGTH_MAX) or "nobody known"
        lines.append(f"    asked by {by}: {shown(event.reason) or 'no reason'}")
    for asked_by, why in entry.asked_before:
        by = shown(asked_by, NAME_LENGTH_MAX) or "nobody known"
        lines.append(f"    asked before by {by}: {shown(why) or 'no reason'}")
    return lines


def _name_of(event: StripeEvent) -> str:
    """Name an event by its id in one line; where nobody can type the id, add the one that commands take."""
    if is_typable(event.event_id):
        return shown(event.event_id)
    return f"{shown(event.event_id)!a} (in commands: {event.id})"


def _of_grant(grant: EntitlementGrant) -> list[str]:
    length = f"{grant.duration_days} days" if grant.duration_days else _until(grant.ends_at)
    kind = shown(grant.entitlement_type, NAME_LENGTH_MAX)
    lines = ["  ".join((minute(grant.granted_at), "grant", kind, length, shown(grant.source)))]
    if grant.granted_by:
        by = shown(grant.granted_by, NAME_LENGTH_MAX)
        lines.append(f"    by {by}: {shown(grant.grant_reason) or 'no reason'}")
    if grant.revoked_at:
        by = f" by {shown(grant.revoked_by, NAME_LENGTH_MAX)}" if grant.revoked_by else ""
        lines.append(f"    revoked {minute(grant.revoked_at)}{by}: {shown(grant.revoke_reason) or 'no reason'}")
    return lines


def _until(moment: datetime | None) -> str:
    return f"until {minute(moment)}" if moment else "for ever"
