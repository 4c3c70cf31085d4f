"""The command `refund`: it requests a refund and sends it at once, beside a running desk or without one."""

from typing import Final

from rich.console import Console

from bot.console.actor import actor
from bot.console.database import open_database
from bot.console.printing import money
from bot.settings import Settings
from db.clock import utc_now
from db.states import EventOutcome
from payments.errors import RefundRefusal, RefundRefusedError
from payments.payment_desk import REASON_LENGTH_MAX, PaymentDesk

_REFUSALS: Final = {
    RefundRefusal.UNKNOWN: "there is no charge of this id",
    RefundRefusal.ALREADY_REFUNDED: "it was given back before",
    RefundRefusal.UNDER_WAY: "its refund was asked for before, and is under way: see `pending`",
    RefundRefusal.NOT_OURS: "another service wrote it, and refunds it",
}


async def refund_one(settings: Settings, charge_id: str, reason: str | None, console: Console) -> bool:
    """Request a refund, send it and print the result; False: the desk refuses the request, or the refund waits.

    The running desk tells the buyer, else the next start does.
    """
    if reason is not None and len(reason) > REASON_LENGTH_MAX:
        console.print(f"{charge_id} is not refunded: a reason has at most {REASON_LENGTH_MAX} characters.")
        return False
    async with open_database(settings) as database:
        payments = PaymentDesk(database, utc_now)
        try:
            refund = (await payments.request_refund(charge_id, reason=reason, requested_by=actor())).refund
        except RefundRefusedError as error:
            console.print(f"{charge_id} is not refunded: {_REFUSALS[error.refusal]}.")
            if error.requested_by is not None:
                because = error.requested_why or "no reason"
                console.print(
                    f"It was asked for by {error.requested_by}: {because}. That stands, and yours is not on record."
                )
            return False
        from bot.desk.tools import refund_once  # noqa: PLC0415 - imports aiogram

        done = await refund_once(settings, database, refund)
        is_all_back = await payments.was_fully_refunded(refund.refund_of or charge_id)
    if done is not None and done.outcome == EventOutcome.REFUNDED:
        then = "the access ended" if is_all_back else "the access stays: not all of the payment has gone back"
        console.print(f"{charge_id}: {money(done.amount_cents, done.currency)} given back, {then}.")
        return True
    if done is not None and done.outcome == EventOutcome.REPLACED:
        console.print(f"{charge_id}: nothing was left, all of it had already been given back another way.")
        return False
    why = done.error if done is not None else "the running desk is at it"
    console.print(f"{charge_id}: the refund is on record and goes on by itself: {why}. See `pending`.")
    return False
