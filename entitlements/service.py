"""Grants and revocations, and what follows from them: the `entitlements` rows.

Everything runs in the caller's transaction and commits nothing. Before a grant or a revocation the caller locks the
user's row (`lock_users`): what stands is computed from all grants of the user, and of two computed side by side the
later one would not know of the earlier one's grant.
"""

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, literal, select, true, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.insert import insert_into
from db.tables import Entitlement, EntitlementGrant, User, new_id
from entitlements import fold
from entitlements.contradictions import WantedGrant, find_contradictions, refuse_contradictions
from entitlements.errors import InvalidEntitlementTypeError, UnknownUserError

_TOUCHED: Final = "starledger.touched"
"""In a session's `info`: the users and types whose standing is written at the end of a block."""
_TYPE: Final = re.compile(r"[a-z0-9_]{1,20}")


@dataclass(frozen=True, slots=True)
class Holding:
    """One entitlement that is open; `expires_at` None: for ever."""

    entitlement_type: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class DaysGranted:
    """A one-time grant of so many days, for many at once."""

    user_id: str
    entitlement_type: str
    source: str
    granted_at: datetime
    duration_days: int
    opened_at: datetime | None = None
    """When it is recorded, by a clock that is behind `granted_at`."""


async def lock_users(session: AsyncSession, which: ColumnElement[bool]) -> Sequence[User]:
    """Hold up whoever else changes these users' grants or refunds until the transaction ends; return them, by id.

    FOR NO KEY UPDATE, so that inserts of rows that refer to a user go on. SQLite has one writer and needs no lock.
    """
    query = select(User).where(which).order_by(User.id).with_for_update(key_share=True)
    return (await session.scalars(query, execution_options={"populate_existing": True})).all()


@asynccontextmanager
async def standings_at_the_end(session: AsyncSession) -> AsyncIterator[None]:
    """Write what stands once for each user and type when the block ends: for many grants in one transaction.

    Inside of it the `entitlements` rows are as they were before.
    """
    touched: set[tuple[str, str]] = set()
    session.info[_TOUCHED] = touched
    try:
        yield
    finally:
        del session.info[_TOUCHED]
    await EntitlementService(session).write_standings(touched)


class EntitlementService:
    """Access of the users, on the caller's session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def grant_entitlement(
        self,
        user_id: str,
        entitlement_type: str,
        source: str,
        *,
        granted_at: datetime,
        duration_days: int | None = None,
        ends_at: datetime | None = None,
        revoked_at: datetime | None = None,
        revoke_reason: str | None = None,
    ) -> bool:
        """Grant `duration_days`, or time until `ends_at`, or (neither) for ever; False when `source` had granted it.

        As `grant` does, with its arguments one by one.
        """
        wanted = WantedGrant(user_id, entitlement_type, source, granted_at, duration_days, ends_at)
        return await self.grant(wanted, revoked_at=revoked_at, revoke_reason=revoke_reason)

    async def grant(
        self,
        wanted: WantedGrant,
        *,
        revoked_at: datetime | None = None,
        revoke_reason: str | None = None,
        now: datetime | None = None,
    ) -> bool:
        """Make a grant; False when its source had granted that type: `find_contradictions` says what stands there.

        With `revoked_at` the grant is born revoked: its refund came first. `now` is the desk's present: while that is
        before `granted_at`, the grant is open all the same. Three statements: the grant, the user's grants, what stands
        now.

        Raises InvalidEntitlementTypeError and UnknownUserError.
        """
        user_id, entitlement_type = wanted.user_id, wanted.entitlement_type
        if _TYPE.fullmatch(entitlement_type) is None:
            raise InvalidEntitlementTypeError(f"not an entitlement type: {entitlement_type!r}")
        grant = {
            EntitlementGrant.id: new_id(),
            EntitlementGrant.user_id: user_id,
            EntitlementGrant.entitlement_type: entitlement_type,
            EntitlementGrant.source: wanted.source,
            EntitlementGrant.granted_at: wanted.granted_at,
            EntitlementGrant.duration_days: wanted.duration_days,
            EntitlementGrant.ends_at: wanted.ends_at,
            EntitlementGrant.revoked_at: revoked_at,
            EntitlementGrant.revoke_reason: revoke_reason,
            EntitlementGrant.opened_at: now if now is not None and now < wanted.granted_at else None,
        }
        # From the user's row, so that an unknown user is no row: a foreign key that fails aborts the transaction.
        row = select(*(literal(value, column.type) for column, value in grant.items())).where(User.id == user_id)
        insert = insert_into(self._session, EntitlementGrant).from_select(list(grant), row)
        insert = insert.on_conflict_do_nothing(index_elements=["source", "entitlement_type"])
        if await self._session.scalar(insert.returning(EntitlementGrant.id)) is None:
            if await self._session.get(User, user_id) is None:
                raise UnknownUserError(f"no user has the id {user_id}")
            return False
        await self._write_standing(user_id, entitlement_type)
        return True

    async def grant_all(
        self,
        grants: Sequence[WantedGrant],
        *,
        revoked_at: datetime | None = None,
        revoke_reason: str | None = None,
        now: datetime | None = None,
    ) -> bool:
        """Make all of these grants, or none of them; False when some had been made before, on the same terms.

        Raises what `grant` does, and ContradictedGrantError, before the first is made, when another grant stands in the
        place of one. A grant that is born revoked is contradicted by nothing but another user's.
        """
        may_differ = revoked_at is not None
        if len(grants) > 1:
            await refuse_contradictions(self._session, grants, may_differ=may_differ)
        all_new = True
        for each in grants:
            if not await self.grant(each, revoked_at=revoked_at, revoke_reason=revoke_reason, now=now):
                await refuse_contradictions(self._session, [each], may_differ=may_differ)
                all_new = False
        return all_new

    async def grant_days(self, grants: Sequence[DaysGranted]) -> frozenset[str]:
        """Grant many times at once, each as `grant_entitlement` does; what a source has granted before stays as it is.

        Nothing is granted of a source of which a type is contradicted by what stands; return those sources. The users
        are known and locked. Raises InvalidEntitlementTypeError.
        """
        for grant in grants:
            if _TYPE.fullmatch(grant.entitlement_type) is None:
                raise InvalidEntitlementTypeError(f"not an entitlement type: {grant.entitlement_type!r}")
        contradicted = frozenset(await find_contradictions(self._session, [_as_wanted(grant) for grant in grants]))
        grants = [grant for grant in grants if grant.source not in contradicted]
        if not grants:
            return contradicted
        insert = insert_into(self._session, EntitlementGrant)
        insert = insert.on_conflict_do_nothing(index_elements=["source", "entitlement_type"])
        await self._session.execute(insert, [{"id": new_id()} | asdict(grant) for grant in grants])
        for user_id, entitlement_type in sorted({(grant.user_id, grant.entitlement_type) for grant in grants}):
            await self._write_standing(user_id, entitlement_type)
        return contradicted

    async def revoke_entitlement(
        self,
        source: str,
        *,
        at: datetime,
        reason: str,
        entitlement_type: str | None = None,
        user_id: str | None = None,
    ) -> tuple[tuple[str, str], ...]:
        """Revoke whatever `source` granted and is not revoked; return whose and which: (user id, entitlement type).

        With `entitlement_type` only that type of it, and with `user_id` only what that user has of it: a source alone
        may have been written for somebody else.
        """
        query = (
            update(EntitlementGrant)
            .where(EntitlementGrant.source == source, EntitlementGrant.revoked_at.is_(None))
            .values(revoked_at=at, revoke_reason=reason)
            .returning(EntitlementGrant.user_id, EntitlementGrant.entitlement_type)
        )
        if entitlement_type is not None:
            query = query.where(EntitlementGrant.entitlement_type == entitlement_type)
        if user_id is not None:
            query = query.where(EntitlementGrant.user_id == user_id)
        revoked = tuple(sorted((row.user_id, row.entitlement_type) for row in await self._session.execute(query)))
        for whose, of_type in revoked:
            await self._write_standing(whose, of_type)
        return revoked

    async def unrevoked(self, sources: Collection[str], user_id: str | None = None) -> dict[str, frozenset[str]]:
        """Return the entitlement types that these sources have granted and that are not revoked, by source.

        With `user_id` only what they have granted to that user.
        """
        query = select(EntitlementGrant.source, EntitlementGrant.entitlement_type).where(
            EntitlementGrant.source.in_(sources), EntitlementGrant.revoked_at.is_(None)
        )
        if user_id is not None:
            query = query.where(EntitlementGrant.user_id == user_id)
        types: defaultdict[str, set[str]] = defaultdict(set)
        for source, entitlement_type in await self._session.execute(query):
            types[source].add(entitlement_type)
        return {source: frozenset(each) for source, each in types.items()}

    async def move_ends(self, ends: Mapping[str, datetime], user_id: str | None = None) -> None:
        """Let the dated grants of these sources end at these moments; what is known of an end may become better.

        With `user_id` only those of that user.
        """
        query = select(EntitlementGrant).where(EntitlementGrant.source.in_(ends), EntitlementGrant.ends_at.is_not(None))
        if user_id is not None:
            query = query.where(EntitlementGrant.user_id == user_id)
        moved = [grant for grant in await self._session.scalars(query) if grant.ends_at != ends[grant.source]]
        for grant in moved:
            grant.ends_at = ends[grant.source]
        await self._session.flush()
        for whose, entitlement_type in sorted({(grant.user_id, grant.entitlement_type) for grant in moved}):
            await self._write_standing(whose, entitlement_type)

    async def has_entitlement(self, user_id: str, entitlement_type: str, at: datetime) -> bool:
        """Tell whether access is open at a moment, past or to come, by the grants that are known now.

        A grant that was recorded while the desk's clock was behind is open by that clock from then on.
        """
        return fold.holds((await self._grants([user_id], entitlement_type))[user_id, entitlement_type], at)

    async def holdings(self, user_id: str, now: datetime) -> tuple[Holding, ...]:
        """List what is open now, sorted by type, each with its end: as the view `active_entitlements` does."""
        return tuple(
            Holding(entitlement_type, interval.end)
            for (_, entitlement_type), grants in sorted((await self._grants([user_id])).items())
            if (interval := fold.open_now(grants, now)) is not None
        )

    async def opens(self, user_id: str, sources: Collection[str], at: datetime) -> bool:
        """Tell whether what these sources have granted opens any moment from `at` on that nothing else opens."""
        of_sources = await self._grants([user_id], which=EntitlementGrant.source.in_(sources))
        beside = await self._grants([user_id], which=EntitlementGrant.source.not_in(sources))
        return any(fold.opens(grants, beside[of], at) for of, grants in of_sources.items())

    async def held_for_life(
        self, user: ColumnElement[bool], at: datetime | None, but: str | None = None
    ) -> frozenset[str]:
        """Return the types that a user, told by a condition on `users`, has for ever by what was granted until then.

        None: by all that was granted. The source `but` counts for nothing.
        """
        held = (
            select(EntitlementGrant.entitlement_type)
            .join(User, User.id == EntitlementGrant.user_id)
            .where(
                user,
                EntitlementGrant.duration_days.is_(None),
                EntitlementGrant.ends_at.is_(None),
                EntitlementGrant.revoked_at.is_(None),
                EntitlementGrant.granted_at <= at if at is not None else true(),
                EntitlementGrant.source != but if but is not None else true(),
            )
        )
        return frozenset(await self._session.scalars(held))

    async def write_standings(self, of: Collection[tuple[str, str]]) -> None:
        """Write anew what stands for these users and types, in two statements."""
        if not of:
            return
        grants = await self._grants({user_id for user_id, _ in of})
        rows = [
            {"user_id": user_id, "entitlement_type": entitlement_type}
            | asdict(fold.stand(grants[user_id, entitlement_type]))
            for user_id, entitlement_type in sorted(of)
        ]
        upsert = insert_into(self._session, Entitlement)
        stands = {"expires_at": upsert.excluded.expires_at, "revoked_at": upsert.excluded.revoked_at}
        key = ["user_id", "entitlement_type"]
        await self._session.execute(upsert.on_conflict_do_update(index_elements=key, set_=stands), rows)

    async def _grants(
        self, user_ids: Collection[str], entitlement_type: str | None = None, which: ColumnElement[bool] | None = None
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
        for row in await self._session.execute(query):
            grant = fold.Grant(
                granted_at=row.granted_at,
                duration_days=row.duration_days,
                ends_at=row.ends_at,
                revoked_at=row.revoked_at,
                opened_at=row.opened_at,
            )
            grants[row.user_id, row.entitlement_type].append(grant)
        return grants

    async def _write_standing(self, user_id: str, entitlement_type: str) -> None:
        if _TOUCHED in self._session.info:
            self._session.info[_TOUCHED].add((user_id, entitlement_type))
            return
        await self.write_standings([(user_id, entitlement_type)])


def _as_wanted(grant: DaysGranted) -> WantedGrant:
    return WantedGrant(grant.user_id, grant.entitlement_type, grant.source, grant.granted_at, grant.duration_days)
