"""The commands `grant`, `revoke`, `history` and `erase`: one person's access and records."""

import asyncio
from typing import Annotated

import typer

from bot.console.access import grant_access, revoke_access
from bot.console.command_line.exit_status import EXIT_FAILED, errors_in_words
from bot.console.command_line.settings_and_log import load_settings
from bot.console.erase import erase_person
from bot.console.history import print_history
from bot.console.printing import CONSOLE
from db.limits import TELEGRAM_ID_MAX
from payments.sale.payload import DAYS_MAX

TelegramId = Annotated[
    int, typer.Argument(metavar="TELEGRAM_ID", min=1, max=TELEGRAM_ID_MAX, help="The person's Telegram id.")
]
Entitlement = Annotated[str, typer.Argument(metavar="ENTITLEMENT", help="An entitlement of a plan in the catalog.")]
Reason = Annotated[str, typer.Option(help="The reason; it stays on record.")]


def grant(
    telegram_id: TelegramId,
    entitlement: Entitlement,
    reason: Reason,
    days: Annotated[int | None, typer.Option(min=1, max=DAYS_MAX, help="Days of access, from now on.")] = None,
    for_life: Annotated[bool, typer.Option("--for-life", help="Lifetime access.")] = False,  # noqa: FBT002 - typer's way
) -> None:
    """Grant access, with actor and reason on record. Only /status tells the person.

    Exit status 1: the command refused the grant.
    """
    if (days is None) != for_life:
        raise typer.BadParameter("say either --days or --for-life")
    with errors_in_words():
        done = asyncio.run(grant_access(load_settings(), telegram_id, entitlement, days, reason, CONSOLE))
    raise typer.Exit(0 if done else EXIT_FAILED)


def revoke(
    telegram_id: TelegramId,
    entitlement: Entitlement,
    reason: Reason,
    source: Annotated[str | None, typer.Option(help="End only the grant of this source; `history` shows it.")] = None,
) -> None:
    """Revoke access, whatever gave it, with actor and reason on record. It refunds nothing.

    A subscription goes on renewing: the refund of its last charge ends it. Exit status 1: there was nothing to revoke.
    """
    with errors_in_words():
        done = asyncio.run(revoke_access(load_settings(), telegram_id, entitlement, source, reason, CONSOLE))
    raise typer.Exit(0 if done else EXIT_FAILED)


def history(
    who: Annotated[str, typer.Argument(metavar="TELEGRAM_ID|@USERNAME", help="The person.")],
) -> None:
    """Print a person's payments, refunds, grants and access.

    Exit status 1: the desk knows no such person.
    """
    with errors_in_words():
        found = asyncio.run(print_history(load_settings(), who, CONSOLE))
    raise typer.Exit(0 if found else EXIT_FAILED)


def erase(telegram_id: TelegramId) -> None:
    """Erase a person: the name and every text go, the payments and the Telegram id stay.

    Exit status 1: the desk knows no such person.
    """
    with errors_in_words():
        done = asyncio.run(erase_person(load_settings(), telegram_id, CONSOLE))
    raise typer.Exit(0 if done else EXIT_FAILED)
