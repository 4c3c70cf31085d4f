"""What a comparison with Telegram's ledger has found: counts for a table, and what nothing explains, told once each."""

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
"""Before what makes a finding one of its kind where an event's id would stand: in its notice."""


class Finding(enum.StrEnum):
    """What is unexplained."""

    UNREADABLE = "unreadable"
    """A row that cannot be read; `detail` says why."""
    UNRECORDABLE = "unrecordable"
    """A payment or refund that the database refuses; `detail` says why."""
    AMOUNT_DIFFERS = "amount_differs"
    """The ledger says `there` Stars, our row `here`."""
    USER_DIFFERS = "user_differs"
    """The ledger says that the user `there` paid, our row `here`."""
    ANOTHER_SERVICE = "another_service"
    """Another service holds the id in our table."""
    NOT_IN_LEDGER = "not_in_ledger"
    """An event of ours that the ledger does not have."""
    BALANCE_OFF = "balance_off"
    """The balance is `there`, the rows add up to `here`: Stars."""
    LEDGER_SHORTER = "ledger_shorter"
    """`here` rows were read before, and the ledger does not have them any more."""


@dataclass(frozen=True, slots=True)
class Unexplained:
    """One finding; `about` makes it one of its kind: an event's id, or a row's key. It is told once for each."""

    finding: Finding
    about: str
    detail: str = ""
    here: int | str = ""
    there: int | str = ""


ALERTS_MAX: Final = 20
"""How many findings are told at once; the next comparison goes on with the others."""
FINDINGS_MAX: Final = 1_000
"""How many findings one comparison keeps: a ledger that lies throughout is known by the first of them."""


@dataclass(slots=True)
class Counts:
    """How many rows of the ledger were seen and what they were, and what was found beside them.

    `others` are rows that are no business of ours, by Telegram's own word for them. `findings` holds the first of those
    that `unexplained` counts.
    """

    seen: int = 0
    known: int = 0
    recovered: int = 0
    refunded: int = 0
    foreign: int = 0
    unexplained: int = 0
    others: Counter[str] = field(default_factory=Counter)
    findings: list[Unexplained] = field(default_factory=list)

    def find(self, *found: Unexplained) -> None:
        """Count something that nothing explains."""
        self.unexplained += len(found)
        self.findings += found[: max(0, FINDINGS_MAX - len(self.findings))]

    def add(self, other: "Counts") -> None:
        """Count in what another page has held."""
        self.seen += other.seen
        self.known += other.known
        self.recovered += other.recovered
        self.refunded += other.refunded
        self.foreign += other.foreign
        self.others += other.others
        self.find(*other.findings)
        self.unexplained += other.unexplained - len(other.findings)


async def alert(
    session: AsyncSession, found: Sequence[Unexplained], admins: Admins, now: datetime
) -> list[Unexplained]:
    """Owe the admins the first ALERTS_MAX findings that they were not told of before, and return those.

    With nobody to tell, the first ALERTS_MAX are new each time.
    """
    keys = {_key(each): each for each in found}
    query = select(OutboxMessage.event_id).where(OutboxMessage.event_id.in_(keys), OutboxMessage.kind == Notice.LEDGER)
    told = set(await session.scalars(query)) if keys else set()
    new = [key for key in keys if key not in told][:ALERTS_MAX]
    for key in new:
        await admins.tell(session, Notice.LEDGER, key, asdict(keys[key]), now)
    return [keys[key] for key in new]


def log(found: Iterable[Unexplained]) -> None:
    """Log findings, each with its facts."""
    for each in found:
        bound = logger.bind(about=each.about, detail=each.detail, here=each.here, there=each.there)
        bound.error("nothing explains what the ledger says: {}", each.finding)


def _key(found: Unexplained) -> str:
    return f"{FINDING_PREFIX}{found.finding}:{found.about}"
