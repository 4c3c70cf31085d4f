"""Standings: the rows of `entitlements`, each the fold of one user's grants of one type."""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Final

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.insert import insert_into
from db.tables import Entitlement, EntitlementGrant
from entitlements import fold

_TOUCHED: Final = "starledger.touched"
"""The key in a session's `info` of the users and types whose standing waits for the end of `defer_standings`."""


async def read_grants(
    session: AsyncSession,
    user_ids: Collection[str],
    entitlement_type: str | None = None,
    which: ColumnElement[bool] | None = None,
) -> defaultdict[tuple[str, str], list[fold.Grant]]:
    """Read the users' grants, of one type or of all, by user and type."""
    query = select(
        EntitlementGrant.user_id,
        EntitlementGrant.entitlement_type,
        EntitlementGrant.granted_at,
        EntitlementGrant.duration_days,
        EntitlementGrant.ends_at,
        EntitlementGrant.revoked_at,
        EntitlementGrant.opened_at,
    ).where(EntitlementGrant.user_id.in_(user_ids))
    if which is not None:
        query = query.where(which)
    if entitlement_type is not None:
        query = query.where(EntitlementGrant.entitlement_type == entitlement_type)
    grants: defaultdict[tuple[str, str], list[fold.Grant]] = defaultdict(list)
    for row in await session.execute(query):
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
    rows = [
        {"user_id": user_id, "entitlement_type": entitlement_type}
        | asdict(fold.fold_grants(grants[user_id, entitlement_type]))
        for user_id, entitlement_type in sorted(of)
    ]
    upsert = insert_into(session, Entitlement)
    stands = {"expires_at": upsert.excluded.expires_at, "revoked_at": upsert.excluded.revoked_at}
    key = ["user_id", "entitlement_type"]
    await session.execute(upsert.on_conflict_do_update(index_elements=key, set_=stands), rows)


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
