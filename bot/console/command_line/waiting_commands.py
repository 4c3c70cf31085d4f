"""The commands `pending`, `retry` and `refund`: payments that wait, and money that goes back."""

import asyncio
from typing import Annotated

import typer

from bot.console.command_line.exit_status import EXIT_FAILED, errors_in_words
from bot.console.command_line.settings_and_log import load_settings
from bot.console.printing import CONSOLE
from bot.console.refund import refund_one
from bot.console.waiting import print_pending, retry_one


def pending() -> None:
    """List the payments, refunds and renewals that wait, the oldest first.

    Each waits for its next attempt or for you.
    """
    with errors_in_words():
        asyncio.run(print_pending(load_settings(), CONSOLE))


def retry(waiting_id: Annotated[str, typer.Argument(metavar="ID", help="The id that `pending` shows.")]) -> None:
    """Retry a payment, refund or renewal that waits.

    The running desk does it in seconds, else the next start. Exit status 1: nothing waits under that id.
    """
    with errors_in_words():
        begun = asyncio.run(retry_one(load_settings(), waiting_id, CONSOLE))
    raise typer.Exit(0 if begun else EXIT_FAILED)


def refund(
    charge_id: Annotated[str, typer.Argument(metavar="CHARGE_ID", help="The charge id that `history` shows.")],
    reason: Annotated[str | None, typer.Option(help="The reason; the buyer reads it.")] = None,
) -> None:
    """Refund a payment and end the access that it paid for, with a desk running or not.

    Exit status 1: the desk refused the request, or the refund is not through yet; `pending` lists it then.
    """
    with errors_in_words():
        done = asyncio.run(refund_one(load_settings(), charge_id, reason, CONSOLE))
    raise typer.Exit(0 if done else EXIT_FAILED)
