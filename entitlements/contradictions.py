"""Contradictions between a wanted grant and the row of `entitlement_grants` with the same source and type.

The same grant made twice is one. Another program, or a person, wrote a row that differs: the desk neither changes it
nor counts it as its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import EntitlementGrant
from entitlements.errors import ContradictedGrantError


@dataclass(frozen=True, slots=True)
class WantedGrant:
    """A grant to make: for `duration_days`, until `ends_at`, or (both None) for life."""

    user_id: str
    entitlement_type: str
    source: str
    granted_at: datetime
    duration_days: int | None = None
    ends_at: datetime | None = None


async def find_contradictions(
    session: AsyncSession, wanted: Sequence[WantedGrant], *, may_differ: bool = False
) -> dict[str, str]:
    """Find grants on record that contradict the wanted ones; return the differences by source, in words for an admin.

    `may_differ`: only another user counts as a contradiction, because the end of a subscription's time moves, and a
    revoked grant opens nothing.
    """
    if not wanted:
        return {}
    query = select(EntitlementGrant).where(EntitlementGrant.source.in_({each.source for each in wanted}))
    standing = {(grant.source, grant.entitlement_type): grant for grant in await session.scalars(query)}
    found: dict[str, str] = {}
    for each in wanted:
        grant = standing.get((each.source, each.entitlement_type))
        said = None if grant is None else _difference(grant, each, may_differ=may_differ)
        if said is not None:
            found.setdefault(
                each.source, f"entitlement_grants has {each.entitlement_type} of {each.source} already: {said}"
            )
    return found


async def refuse_contradictions(
    session: AsyncSession, wanted: Sequence[WantedGrant], *, may_differ: bool = False
) -> None:
    """Raise ContradictedGrantError when an existing grant contradicts one of the wanted ones."""
    found = await find_contradictions(session, wanted, may_differ=may_differ)
    if found:
        raise ContradictedGrantError("; ".join(found.values()))


def _difference(standing: EntitlementGrant, wanted: WantedGrant, *, may_differ: bool) -> str | None:
    """Return the difference between a grant on record and the wanted one, in words; None: they are the same."""
    if standing.user_id != wanted.user_id:
        return "it is another user's"
    if may_differ:
        return None
    if standing.revoked_at is not None:
        return f"it was revoked at {standing.revoked_at:%Y-%m-%d %H:%M} UTC, and there is no refund"
    if (standing.duration_days, standing.ends_at) != (wanted.duration_days, wanted.ends_at):
        there = _length(standing.duration_days, standing.ends_at)
        return f"it is {there}, not {_length(wanted.duration_days, wanted.ends_at)}"
    if standing.granted_at != wanted.granted_at:
        return f"it begins at {standing.granted_at:%Y-%m-%d %H:%M} UTC, not {wanted.granted_at:%Y-%m-%d %H:%M} UTC"
    return None


def _length(duration_days: int | None, ends_at: datetime | None) -> str:
    if ends_at is not None:
        return f"until {ends_at:%Y-%m-%d %H:%M} UTC"
    return "for ever" if duration_days is None else f"for {duration_days} days"
