"""Dates the grants of subscription charges: each ends with its period, and a failed renewal gets grace."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.tables import User
from entitlements import EntitlementService
from entitlements.contradictions import WantedGrant, find_contradictions
from payments.audit import events
from payments.effects import Effects
from payments.methods import STARS
from payments.notices import Notice
from payments.subscriptions.chain import Chain, Charge, Terms, failed_periods


def grace_source(charge_id: str) -> str:
    """Return the source of the grace grants that follow a failed renewal; `charge_id` is the last paid charge."""
    return f"grace:{charge_id}"


class SubscriptionGrants:
    """Dates the grants of a user's subscriptions, by the seller's terms. The caller holds the user's lock."""

    def __init__(self, clock: Clock, effects: Effects) -> None:
        self._clock = clock
        self._effects = effects

    async def update_ends(self, session: AsyncSession, user: User, chains: Sequence[Chain], terms: Terms) -> None:
        """Set the grants of each subscription charge to end with its period, and grant grace after failed renewals."""
        service = EntitlementService(session)
        ends = {STARS.source(period.charge.id): period.ends_at for chain in chains for period in chain.periods}
        failed = [period for chain in chains for period in failed_periods(chain)] if terms.grace_days else []
        if terms.grace_days:
            # If a later renewal becomes known, earlier grace ends with its period, so that it adds no time.
            ends |= {grace_source(period.charge.id): period.ends_at for chain in chains for period in chain.periods}
        if failed:
            paid = await service.unrevoked([STARS.source(period.charge.id) for period in failed], user.id)
            for period in failed:
                source = grace_source(period.charge.id)
                ends[source] = period.ends_at + terms.grace
                for entitlement in sorted(paid[STARS.source(period.charge.id)]):
                    # Grace begins with the charge, because the end of the period may still change.
                    grace = WantedGrant(user.id, entitlement, source, period.charge.paid_at, None, ends[source])
                    await self._grant_grace(session, user, period.charge, grace)
        await service.move_ends(ends, user.id)

    async def _grant_grace(self, session: AsyncSession, user: User, charge: Charge, grace: WantedGrant) -> None:
        """Grant grace after a failed renewal, once; tell the admins if another grant stands in its place."""
        if await EntitlementService(session).grant(grace, now=self._clock()):
            return
        for contradiction in (await find_contradictions(session, [grace], may_differ=True)).values():
            event = await events.find(session, charge.id)
            if event is not None:
                await self._effects.tell_admins(session, Notice.PARKED, event, user, contradiction, is_settled=True)
