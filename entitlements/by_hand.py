"""Grants and revocations by an admin's hand, with the admin and the reason on record.

They run in the transaction of the caller, who has locked the user's row (db/users.py, lock_users).
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
    """Grant `days` of access from now on (None: lifetime); return the grant's source, for a revocation.

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
    """Revoke a user's grants of a type, from any source or only from `source`; return the revoked sources.

    The money stays where it is: the seller can still refund a charge whose access an admin revoked.
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
