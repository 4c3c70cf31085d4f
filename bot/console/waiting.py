"""The commands `pending` and `retry`: they list waiting events, renewals and updates, and retry one of them."""

from shlex import quote
from typing import Final

from rich.console import Console

from bot.console.database import open_database
from bot.console.printing import minute, money, shown
from bot.settings import Settings
from db.clock import utc_now
from db.states import STARS_CURRENCY, EventOutcome, EventStatus
from payments.payment_desk import LISTED_MAX, PaymentDesk, RetryResult, retry_id

_RESULTS: Final = {
    RetryResult.BEGUN: "due again: the running desk does it within seconds, else the next start",
    RetryResult.NOT_WAITING: "does not wait: it is settled",
    RetryResult.UNKNOWN: "is unknown here: `pending` lists the ids",
    RetryResult.STILL_UNRECORDABLE: "still cannot be recorded: it stays in the table quarantine",
}


async def print_pending(settings: Settings, console: Console) -> None:
    """Print the events, renewals and updates that wait for their next attempt or for an admin, oldest first."""
    async with open_database(settings) as database:
        found = await PaymentDesk(database, utc_now).list_pending()
    if not found.count:
        console.print("Nothing waits: every payment and refund has come to its end.")
        return
    for event, user in found.events:
        kind = "charge" if event.refund_of is None else "refund"
        state = "parked" if event.outcome == EventOutcome.PARKED else "open"
        if event.status == EventStatus.PROCESSED:
            state = "settled, with news that could not be taken in"
        amount = money(event.amount_cents, event.currency)
        whose = f"user {user.telegram_id or user.id}"
        head = (minute(event.created_at), kind, amount, whose, state, shown(event.error))
        console.print("  ".join(head).rstrip(), f"    retry {quote(retry_id(event))}", sep="\n")
    for subscription, user in found.renewals:
        price = money(subscription.price_stars, STARS_CURRENCY)
        renews = f"renews {minute(subscription.current_period_end)}"
        line = (renews, "renewal", price, f"user {user.telegram_id}", "not cancelled", shown(subscription.error))
        console.print("  ".join(line), f"    retry {quote(retry_id(subscription))}", sep="\n")
    for row in found.quarantined:
        since = minute(row.created_at)
        console.print(f"{since}  update  quarantined  {shown(row.reason)}\n    retry {retry_id(row)}")
    if found.count > LISTED_MAX:
        console.print(f"{found.count} in all.")


async def retry_one(settings: Settings, waiting_id: str, console: Console) -> bool:
    """Retry one waiting entry, and print the result; False: there is nothing to retry."""
    async with open_database(settings) as database:
        result = await PaymentDesk(database, utc_now).retry(waiting_id)
    console.print(f"{waiting_id} {_RESULTS[result]}")
    return result is RetryResult.BEGUN
