"""Recorded charges, for the pages of a history."""

from payments.audit import fact_rows
from payments.audit.facts import ChargeFact, Person
from sandbox.people import Person as Account
from tests.support.chats import Chats


async def record_charges(chats: Chats, buyer: Account, count: int, username: str | None = None) -> None:
    """Put charges of another program on record, as many as are wanted."""
    person = Person(buyer.id, username)
    facts = [ChargeFact(f"{buyer.id}-{n}", person, 70, "XTR", "another program's", chats.clock()) for n in range(count)]
    async with chats.database.transaction() as session:
        await fact_rows.record(session, facts, chats.clock())
