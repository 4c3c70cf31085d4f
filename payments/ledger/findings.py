"""Counts the findings of a reconciliation with Telegram's ledger, and alerts the admins to each one once."""

import enum
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Final

from loguru import logger
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import OutboxMessage
from payments.notices import Admins, Notice

FINDING_PREFIX: Final = "ledger:"
"""Begins the key of a finding's notice, where other notices have an event's id."""


class Finding(enum.StrEnum):
    """A kind of difference between the ledger and our rows."""

    UNREADABLE = "unreadable"
    """A ledger row is unreadable; `detail` says why."""
    UNRECORDABLE = "unrecordable"
    """The database refuses a payment or refund; `detail` says why."""
    AMOUNT_DIFFERS = "amount_differs"
    """The ledger says `there` Stars, our row `here`."""
    USER_DIFFERS = "user_differs"
    """The ledger names the user `there`, our row `here`."""
    ANOTHER_SERVICE = "another_service"
    """Another service has the id in our table."""
    NOT_IN_LEDGER = "not_in_ledger"
    """The ledger lacks an event of ours."""
    BALANCE_OFF = "balance_off"
    """The balance is `there` Stars, and the ledger rows add up to `here`."""
    LEDGER_SHORTER = "ledger_shorter"
    """The ledger has lost some of the `here` rows that earlier readings saw."""


@dataclass(frozen=True, slots=True)
class Unexplained:
    """One finding of a reconciliation. `about` (an event's id or a ledger row's key) identifies it: one alert each."""

    finding: Finding
    about: str
    detail: str = ""
    here: int | str = ""
    there: int | str = ""


ALERTS_MAX: Final = 20
"""One reconciliation alerts the admins to so many findings; the next one takes the others."""
FINDINGS_MAX: Final = 1_000
"""One reconciliation keeps so many findings, because the first thousand are enough to judge a ledger that is wrong
throughout.
"""


@dataclass(slots=True)
class Counts:
    """Counts of ledger rows by kind and result, and the findings beside them.

    `others` counts the rows beside our payments and refunds, by Telegram's word for their kind. `findings` holds the
    first FINDINGS_MAX of those that `unexplained` counts.
    """

    seen: int = 0
    known: int = 0
    recovered: int = 0
    refunded: int = 0
    foreign: int = 0
    unexplained: int = 0
    others: Counter[str] = field(default_factory=Counter)
    findings: list[Unexplained] = field(default_factory=list)

    def add_findings(self, *found: Unexplained) -> None:
        """Count findings, and keep the first FINDINGS_MAX of them."""
        self.unexplained += len(found)
        self.findings += found[: max(0, FINDINGS_MAX - len(self.findings))]

    def add(self, other: "Counts") -> None:
        """Add the counts and findings of another ledger page."""
        self.seen += other.seen
        self.known += other.known
        self.recovered += other.recovered
        self.refunded += other.refunded
        self.foreign += other.foreign
        self.others += other.others
        self.add_findings(*other.findings)
        self.unexplained += other.unexplained - len(other.findings)


async def owe_findings(
    session: AsyncSession, found: Sequence[Unexplained], admins: Admins, now: datetime
) -> list[Unexplained]:
    """Owe the admins an alert for each of the first ALERTS_MAX new ledger findings; return those findings.

    Without admins, the first ALERTS_MAX are new each time.
    """
    keys = {_notice_key(each): each for each in found}
    query = select(OutboxMessage.event_id).where(OutboxMessage.event_id.in_(keys), OutboxMessage.kind == Notice.LEDGER)
    told = set(await session.scalars(query)) if keys else set()
    new = [key for key in keys if key not in told][:ALERTS_MAX]
    for key in new:
        await admins.tell(session, Notice.LEDGER, key, asdict(keys[key]), now)
    return [keys[key] for key in new]


def log_findings(found: Iterable[Unexplained]) -> None:
    """Log each ledger finding as an error, with its facts."""
    for each in found:
        bound = logger.bind(about=each.about, detail=each.detail, here=each.here, there=each.there)
        bound.error("the ledger and our rows differ: {}", each.finding)


def _notice_key(found: Unexplained) -> str:
    """Return the key of a ledger finding's notice in the outbox."""
    return f"{FINDING_PREFIX}{found.finding}:{found.about}"
