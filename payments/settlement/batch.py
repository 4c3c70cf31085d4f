"""Settles a batch of due audit rows, each of another user, in one transaction: a backlog costs one commit a batch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from db.engine import Database
from db.retry import retry_transaction
from db.states import EventStatus
from db.tables import StripeEvent
from payments.audit import events, transitions
from payments.audit.balance import is_at_provider
from payments.settlement.settlement import Settlement

BATCH_ROWS: Final = 25
"""A pre-checkout waits behind one batch on SQLite: of one-time plans less than 0.1 s of processor time, of renewals
with years behind them 0.5 s."""


@dataclass(frozen=True, slots=True)
class SettledRow:
    """An audit row after its settlement. `was_settled`: an earlier one had settled it, and it had only news."""

    event: StripeEvent
    was_settled: bool


def divide(event_ids: Iterable[str], user_ids: Mapping[str, str], rows_max: int = BATCH_ROWS) -> Iterator[list[str]]:
    """Divide due audit rows into batches of at most `rows_max`, each row of another user; yield their event ids.

    `user_ids` has each row's user. A user's rows stay in their order, one in a batch, because the settlement of the
    second reads what that of the first has committed.
    """
    waiting = list(event_ids)
    while waiting:
        batch: dict[str, str] = {}
        later = []
        for event_id in waiting:
            if len(batch) == rows_max or user_ids[event_id] in batch:
                later.append(event_id)
            else:
                batch[user_ids[event_id]] = event_id
        yield list(batch.values())
        waiting = later


class BatchSettlement:
    """Settles the rows of a batch that need no provider and that nobody has locked, and leaves the others alone."""

    def __init__(self, database: Database, settlement: Settlement) -> None:
        self._database = database
        self._settlement = settlement

    @retry_transaction
    async def settle(self, event_ids: Sequence[str]) -> list[SettledRow]:
        """Settle a batch of different users' audit rows in one transaction; return the settled rows in their order.

        1. Lock the users by id, then the rows, and leave out what another process has locked: a wait for one lock would
           hold all the others.
        2. Settle each open row that needs no provider, because no transaction is open during a provider's call.

        The caller has found the gate open (payments/loop.py). An error leaves every row as it was.
        """
        settled = []
        async with self._database.transaction() as session:
            users = await events.lock_users_of(session, event_ids, skip_locked=True)
            for event in await events.lock_rows_of(session, users, event_ids):
                if transitions.is_open(event) and not _needs_provider(event):
                    was_settled = event.status == EventStatus.PROCESSED
                    await self._settlement.settle_open(session, event)
                    settled.append(SettledRow(event, was_settled))
        return settled


def _needs_provider(event: StripeEvent) -> bool:
    """Tell whether an open audit row is a refund that its provider has yet to make."""
    return event.refund_of is not None and not is_at_provider(event)
