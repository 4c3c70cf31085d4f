"""Access that a person gives or takes, with the reason and the actor on record.

In the caller's transaction, who has locked the user's row (entitlements/service.py, lock_users).
"""

from datetime import datetime
from typing import Final
from uuid import uuid4

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import EntitlementGrant
from entitlements.contradictions import WantedGrant
from entitlements.service import EntitlementService

SOURCE_PREFIX: Final = "manual:"


async def grant_by_hand(
    session: AsyncSession,
    user_id: str,
    entitlement_type: str,
    *,
    days: int | None,
    actor: str,
    reason: str,
    now: datetime,
) -> str:
    """Grant `days` of access from now on, None for ever; return the source, by which it can be revoked.

    Raises InvalidEntitlementTypeError, UnknownUserError and ContradictedGrantError.
    """
    source = f"{SOURCE_PREFIX}{uuid4()}"
    service = EntitlementService(session)
    await service.grant_all([WantedGrant(user_id, entitlement_type, source, now, days)])
    by_hand = update(EntitlementGrant).where(EntitlementGrant.source == source, EntitlementGrant.user_id == user_id)
    await session.execute(by_hand.values(granted_by=actor, grant_reason=reason))
    return source


async def revoke_by_hand(
    session: AsyncSession,
    user_id: str,
    entitlement_type: str,
    *,
    source: str | None,
    actor: str,
    reason: str,
    now: datetime,
) -> tuple[str, ...]:
    """Revoke a user's grants of a type, whatever gave them, or (with `source`) that one; return the sources.

    Money stays where it is: a charge whose access was taken can still be refunded.
    """
    standing = (
        select(EntitlementGrant.source)
        .where(
            EntitlementGrant.user_id == user_id,
            EntitlementGrant.entitlement_type == entitlement_type,
            EntitlementGrant.revoked_at.is_(None),
        )
        .order_by(EntitlementGrant.granted_at, EntitlementGrant.source)
    )
    if source is not None:
        standing = standing.where(EntitlementGrant.source == source)
    sources = tuple(await session.scalars(standing))
    service = EntitlementService(session)
    for each in sources:
        await service.revoke_entitlement(
            each, at=now, reason=reason, entitlement_type=entitlement_type, user_id=user_id
        )
    by_hand = update(EntitlementGrant).where(
        EntitlementGrant.source.in_(sources),
        EntitlementGrant.entitlement_type == entitlement_type,
        EntitlementGrant.user_id == user_id,
    )
    await session.execute(by_hand.values(revoked_by=actor))
    return sources
