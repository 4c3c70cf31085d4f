"""Rows of `entitlements` that no grant explains: somebody has written them past the desk."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import Entitlement, EntitlementGrant
from entitlements import fold

_BATCH: Final = 1_000
"""Users whose rows are read at once."""


async def find_unexplained(session: AsyncSession) -> AsyncIterator[tuple[str, str]]:
    """Yield whose and which row opens what its grants do not, or not for so long: (user id, entitlement type)."""
    last = ""
    while True:
        users = select(Entitlement.user_id).where(Entitlement.user_id > last).distinct()
        user_ids = (await session.scalars(users.order_by(Entitlement.user_id).limit(_BATCH))).all()
        if not user_ids:
            return
        last = user_ids[-1]
        grants = await _grants(session, user_ids)
        rows = select(Entitlement.user_id, Entitlement.entitlement_type, Entitlement.expires_at, Entitlement.revoked_at)
        for row in await session.execute(rows.where(Entitlement.user_id.in_(user_ids))):
            if not _explains(grants.get((row.user_id, row.entitlement_type), ()), fold.Standing(*row[2:])):
                yield row.user_id, row.entitlement_type


async def _grants(session: AsyncSession, user_ids: Sequence[str]) -> Mapping[tuple[str, str], list[fold.Grant]]:
    table = EntitlementGrant
    query = select(
        table.user_id,
        table.entitlement_type,
        table.granted_at,
        table.duration_days,
        table.ends_at,
        table.revoked_at,
        table.opened_at,
    ).where(table.user_id.in_(user_ids))
    found: defaultdict[tuple[str, str], list[fold.Grant]] = defaultdict(list)
    for row in await session.execute(query):
        grant = fold.Grant(
            granted_at=row.granted_at,
            duration_days=row.duration_days,
            ends_at=row.ends_at,
            revoked_at=row.revoked_at,
            opened_at=row.opened_at,
        )
        found[row.user_id, row.entitlement_type].append(grant)
    return found


def _explains(grants: Sequence[fold.Grant], row: fold.Standing) -> bool:
    """Tell whether a row opens no more than its grants do; one that opens less harms nobody but its user."""
    if row.revoked_at is not None:
        return True
    if not grants:
        return False
    standing = fold.stand(grants)
    if standing.revoked_at is not None:
        return False
    return standing.expires_at is None or (row.expires_at is not None and row.expires_at <= standing.expires_at)
