"""Standings: the rows of `entitlements`, each the fold of one user's grants of one type."""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.insert import Insert, InsertConstant
from db.tables import Entitlement, EntitlementGrant
from entitlements import fold

_TOUCHED: Final = "starledger.touched"
"""The key in a session's `info` of the users and types whose standing waits for the end of `defer_standings`."""
_WRITTEN: Final = "starledger.written"
"""The key in a session's `info` of the standings that its transaction has written last, by user and type."""

_GRANTS: Final = select(
    EntitlementGrant.user_id,
    EntitlementGrant.entitlement_type,
    EntitlementGrant.granted_at,
    EntitlementGrant.duration_days,
    EntitlementGrant.ends_at,
    EntitlementGrant.revoked_at,
    EntitlementGrant.opened_at,
).where(EntitlementGrant.user_id.in_(bindparam("user_ids", expanding=True)))
_ENDS: Final = select(Entitlement.entitlement_type, Entitlement.expires_at).where(
    Entitlement.user_id == bindparam("user_id"), Entitlement.entitlement_type.in_(bindparam("types", expanding=True))
)


def _standing_anew(insert: Insert) -> Insert:
    """Let a user's new standing replace the row of the old one."""
    new = {"expires_at": insert.excluded.expires_at, "revoked_at": insert.excluded.revoked_at}
    return insert.on_conflict_do_update(index_elements=["user_id", "entitlement_type"], set_=new)


_STANDING: Final = InsertConstant(Entitlement, _standing_anew)


async def read_grants(
    session: AsyncSession,
    user_ids: Collection[str],
    entitlement_type: str | None = None,
    which: ColumnElement[bool] | None = None,
) -> defaultdict[tuple[str, str], list[fold.Grant]]:
    """Read the users' grants, of one type or of all, by user and type."""
    query = _GRANTS
    if which is not None:
        query = query.where(which)
    if entitlement_type is not None:
        query = query.where(EntitlementGrant.entitlement_type == entitlement_type)
    grants: defaultdict[tuple[str, str], list[fold.Grant]] = defaultdict(list)
    for row in await session.execute(query, {"user_ids": list(user_ids)}):
        grant = fold.Grant(
            granted_at=row.granted_at,
            duration_days=row.duration_days,
            ends_at=row.ends_at,
            revoked_at=row.revoked_at,
            opened_at=row.opened_at,
        )
        grants[row.user_id, row.entitlement_type].append(grant)
    return grants


async def write_standings(session: AsyncSession, of: Collection[tuple[str, str]]) -> None:
    """Fold the grants of these users and types, and write their `entitlements` rows, in two statements."""
    if not of:
        return
    grants = await read_grants(session, {user_id for user_id, _ in of})
    standings = {each: fold.fold_grants(grants[each]) for each in sorted(of)}
    rows = [
        {"user_id": user_id, "entitlement_type": entitlement_type} | asdict(standing)
        for (user_id, entitlement_type), standing in standings.items()
    ]
    await session.execute(_STANDING.on(session), rows)
    session.info.setdefault(_WRITTEN, {}).update(standings)


async def read_ends(session: AsyncSession, user_id: str, types: Collection[str]) -> dict[str, datetime | None]:
    """Return the ends of a user's access by type, None for life, as the user's standings have them.

    The caller holds the user's lock, so what the transaction has written itself needs no statement.
    """
    written: dict[tuple[str, str], fold.Standing] = session.info.get(_WRITTEN, {})
    ends = {each: written[user_id, each].expires_at for each in types if (user_id, each) in written}
    if len(ends) < len(types):
        rows = await session.execute(_ENDS, {"user_id": user_id, "types": list(types)})
        ends |= {row.entitlement_type: row.expires_at for row in rows}
    return ends


async def write_standing(session: AsyncSession, user_id: str, entitlement_type: str) -> None:
    """Fold the grants of one user and type, and write the `entitlements` row, now or when `defer_standings` ends."""
    if _TOUCHED in session.info:
        session.info[_TOUCHED].add((user_id, entitlement_type))
        return
    await write_standings(session, [(user_id, entitlement_type)])


@asynccontextmanager
async def defer_standings(session: AsyncSession) -> AsyncIterator[None]:
    """Write each `entitlements` row once when the block ends, however many grants it makes in the transaction.

    Inside of the block the rows are as they were before.
    """
    touched: set[tuple[str, str]] = set()
    session.info[_TOUCHED] = touched
    try:
        yield
    finally:
        del session.info[_TOUCHED]
    await write_standings(session, touched)
