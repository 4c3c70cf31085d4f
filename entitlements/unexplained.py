"""Rows of `entitlements` that no grant explains, because somebody wrote them past the desk."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import Entitlement
from entitlements import fold
from entitlements.standings import read_grants

_BATCH: Final = 1_000
"""The number of users whose rows one step reads."""


async def find_unexplained(session: AsyncSession) -> AsyncIterator[tuple[str, str]]:
    """Find `entitlements` rows that open more than their grants do; yield their user id and entitlement type."""
    last = ""
    while True:
        users = select(Entitlement.user_id).where(Entitlement.user_id > last).distinct()
        user_ids = (await session.scalars(users.order_by(Entitlement.user_id).limit(_BATCH))).all()
        if not user_ids:
            return
        last = user_ids[-1]
        grants = await read_grants(session, user_ids)
        rows = select(Entitlement.user_id, Entitlement.entitlement_type, Entitlement.expires_at, Entitlement.revoked_at)
        for row in await session.execute(rows.where(Entitlement.user_id.in_(user_ids))):
            if not _explains(grants.get((row.user_id, row.entitlement_type), ()), fold.Standing(*row[2:])):
                yield row.user_id, row.entitlement_type


def _explains(grants: Sequence[fold.Grant], row: fold.Standing) -> bool:
    """Tell whether grants explain an `entitlements` row: the row opens no more than they do.

    A row may open less, because that harms only its user.
    """
    if row.revoked_at is not None:
        return True
    if not grants:
        return False
    standing = fold.fold_grants(grants)
    if standing.revoked_at is not None:
        return False
    return standing.expires_at is None or (row.expires_at is not None and row.expires_at <= standing.expires_at)
