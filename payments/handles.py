"""How a person names a payment or refund in a command: by its id, or, where that cannot be typed, by its row's.

An id of a provider may be any text. One word of ASCII that does not look like an option can be typed in a chat and,
quoted, in a shell; any other id is shown as the UUID of its row, which names it as well.
"""

import re
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import StripeEvent

_ONE_WORD: Final = re.compile(r"(?!-)[!-~]+")


def is_typable(event_id: str) -> bool:
    """Tell an id that a person can type, or copy without losing something of it."""
    return _ONE_WORD.fullmatch(event_id) is not None


def handle(event: StripeEvent) -> str:
    """Return what names an event in a command."""
    return event.event_id if is_typable(event.event_id) else event.id


async def find_named(session: AsyncSession, name: str) -> StripeEvent | None:
    """Read the event that a command names, by its id or else by its row's; None: there is none."""
    by_id = await session.scalar(select(StripeEvent).where(StripeEvent.event_id == name))
    return by_id or await session.scalar(select(StripeEvent).where(StripeEvent.id == name))
