"""EntitlementService: grants, revocations, and questions about access, with the `entitlements` rows that follow.

Everything runs in the caller's transaction and commits nothing. Before a grant or a revocation the caller locks the
user's row (db/users.py, lock_users), because a standing is the fold of all grants of the user, and of two folds
computed side by side the later one would miss the earlier one's grant.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import and_, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningInsert

from db.insert import Insert, InsertConstant
from db.tables import EntitlementGrant, User, new_id
from entitlements import fold
from entitlements.contradictions import WantedGrant, find_contradictions, refuse_contradictions
from entitlements.errors import InvalidEntitlementTypeError, UnknownUserError
from entitlements.standings import read_grants, write_standing

_TYPE: Final = re.compile(r"[a-z0-9_]{1,20}")

_LIFETIME_GRANTS: Final = select(
    EntitlementGrant.entitlement_type, EntitlementGrant.granted_at, EntitlementGrant.source
).where(
    EntitlementGrant.duration_days.is_(None),
    EntitlementGrant.ends_at.is_(None),
    EntitlementGrant.revoked_at.is_(None),
)
_LIFETIME_GRANTS_OF_USER: Final = _LIFETIME_GRANTS.where(EntitlementGrant.user_id == bindparam("user_id"))
_LIFETIME_GRANTS_OF_BUYER: Final = _LIFETIME_GRANTS.where(
    EntitlementGrant.user_id == select(User.id).where(User.telegram_id == bindparam("telegram_id")).scalar_subquery()
)
_OF_SOURCES: Final = and_(
    EntitlementGrant.source.in_(bindparam("sources", expanding=True)),
    EntitlementGrant.user_id == bindparam("user_id"),
)
_UNREVOKED: Final = select(EntitlementGrant.source, EntitlementGrant.entitlement_type).where(
    _OF_SOURCES, EntitlementGrant.revoked_at.is_(None)
)
_DATED_GRANTS: Final = select(EntitlementGrant).where(_OF_SOURCES, EntitlementGrant.ends_at.is_not(None))
_GRANT_KEY: Final = ("source", "entitlement_type")
_GRANTED_COLUMNS: Final = tuple(
    EntitlementGrant.__table__.c[name]
    for name in (
        "id",
        "user_id",
        *_GRANT_KEY,
        "granted_at",
        "duration_days",
        "ends_at",
        "revoked_at",
        "revoke_reason",
        "opened_at",
    )
)


def _grant_to_known_user(insert: Insert) -> ReturningInsert[str]:
    """Insert one grant, unless its source granted the type before, or its user is unknown; return its id.

    The insert selects from the user's row, because a foreign key that fails would abort the transaction.
    """
    values = select(*(bindparam(column.name, type_=column.type) for column in _GRANTED_COLUMNS))
    row = values.where(User.id == bindparam("user_id"))
    insert = insert.from_select(_GRANTED_COLUMNS, row).on_conflict_do_nothing(index_elements=_GRANT_KEY)
    return insert.returning(EntitlementGrant.__table__.c.id)


_NEW_GRANT: Final = InsertConstant(EntitlementGrant, _grant_to_known_user)
_NEW_GRANTS: Final = InsertConstant(
    EntitlementGrant, lambda insert: insert.on_conflict_do_nothing(index_elements=_GRANT_KEY)
)


@dataclass(frozen=True, slots=True)
class Holding:
    """One open entitlement of a user; `expires_at` None: for life."""

    entitlement_type: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class DaysGranted:
    """A grant of one-time days, which `grant_days` makes together with many others."""

    user_id: str
    entitlement_type: str
    source: str
    granted_at: datetime
    duration_days: int
    opened_at: datetime | None = None
    """The moment of recording, by a clock that is behind `granted_at`."""


class EntitlementService:
    """Makes and revokes grants, and answers questions about access, on the caller's session."""

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
        """Grant days, time until a date, or lifetime access; False: `source` granted it before.

        The grant is for `duration_days`, until `ends_at`, or (neither) for life. It works as `grant` does, with its
        arguments one by one. The specification names this function; the desk itself grants by `grant_all`.
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
        """Make a grant; False: its source granted that type before.

        `find_contradictions` says how that grant differs. With `revoked_at` the grant begins revoked, because its
        refund came first. `now` is the desk's present: while that is before `granted_at`, the grant is open all the
        same. Three statements: the grant, the user's grants, their standing.

        Raises InvalidEntitlementTypeError and UnknownUserError.
        """
        user_id, entitlement_type = wanted.user_id, wanted.entitlement_type
        if _TYPE.fullmatch(entitlement_type) is None:
            raise InvalidEntitlementTypeError(f"not an entitlement type: {entitlement_type!r}")
        grant = asdict(wanted) | {
            "id": new_id(),
            "revoked_at": revoked_at,
            "revoke_reason": revoke_reason,
            "opened_at": now if now is not None and now < wanted.granted_at else None,
        }
        if await self._session.scalar(_NEW_GRANT.on(self._session), grant) is None:
            if await self._session.get(User, user_id) is None:
                raise UnknownUserError(f"no user has the id {user_id}")
            return False
        await write_standing(self._session, user_id, entitlement_type)
        return True

    async def grant_all(
        self,
        grants: Sequence[WantedGrant],
        *,
        revoked_at: datetime | None = None,
        revoke_reason: str | None = None,
        now: datetime | None = None,
    ) -> bool:
        """Make all of these grants or none; False: some are on record already, on the same terms.

        Raises the errors of `grant`, and ContradictedGrantError, before the first grant, when an existing one
        contradicts them. Only another user's grant contradicts one that is born revoked.
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
        """Make many grants of one-time days at once; an existing grant of a source stays as it is.

        A source with a contradicted type grants nothing; return those sources. The caller has found and locked the
        users. Raises InvalidEntitlementTypeError.
        """
        for grant in grants:
            if _TYPE.fullmatch(grant.entitlement_type) is None:
                raise InvalidEntitlementTypeError(f"not an entitlement type: {grant.entitlement_type!r}")
        contradicted = frozenset(await find_contradictions(self._session, [_as_wanted(grant) for grant in grants]))
        grants = [grant for grant in grants if grant.source not in contradicted]
        if not grants:
            return contradicted
        await self._session.execute(
            _NEW_GRANTS.on(self._session), [{"id": new_id()} | asdict(grant) for grant in grants]
        )
        for user_id, entitlement_type in sorted({(grant.user_id, grant.entitlement_type) for grant in grants}):
            await write_standing(self._session, user_id, entitlement_type)
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
        """Revoke the grants of a source; return the user id and entitlement type of each.

        With `entitlement_type` it revokes only that type, and with `user_id` only that user's grants, because another
        program may have used the source for somebody else.
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
            await write_standing(self._session, whose, of_type)
        return revoked

    async def unrevoked(self, sources: Collection[str], user_id: str) -> dict[str, frozenset[str]]:
        """Return, by source, the entitlement types of a user's grants that nobody has revoked."""
        types: defaultdict[str, set[str]] = defaultdict(set)
        found = await self._session.execute(_UNREVOKED, {"sources": list(sources), "user_id": user_id})
        for source, entitlement_type in found:
            types[source].add(entitlement_type)
        return {source: frozenset(each) for source, each in types.items()}

    async def move_ends(self, ends: Mapping[str, datetime], user_id: str) -> None:
        """Move the ends of a user's dated grants of these sources: a better known end replaces an estimate."""
        dated = await self._session.scalars(_DATED_GRANTS, {"sources": list(ends), "user_id": user_id})
        moved = [grant for grant in dated if grant.ends_at != ends[grant.source]]
        for grant in moved:
            grant.ends_at = ends[grant.source]
        await self._session.flush()
        for whose, entitlement_type in sorted({(grant.user_id, grant.entitlement_type) for grant in moved}):
            await write_standing(self._session, whose, entitlement_type)

    async def has_entitlement(self, user_id: str, entitlement_type: str, at: datetime) -> bool:
        """Tell whether a user's access is open at a moment, by the grants known now.

        The moment may be past or to come. A grant of the time when the desk's clock was behind is open by that clock
        from its recording on. The specification names this function; the desk itself reads `holdings`.
        """
        return fold.holds(
            (await read_grants(self._session, [user_id], entitlement_type))[user_id, entitlement_type], at
        )

    async def holdings(self, user_id: str, now: datetime) -> tuple[Holding, ...]:
        """List a user's open entitlements by type, with their ends, as the view `active_entitlements` does."""
        return tuple(
            Holding(entitlement_type, interval.end)
            for (_, entitlement_type), grants in sorted((await read_grants(self._session, [user_id])).items())
            if (interval := fold.open_now(grants, now)) is not None
        )

    async def opens(self, user_id: str, sources: Collection[str], at: datetime) -> bool:
        """Tell whether the grants of these sources open a moment from `at` on that no other grant opens."""
        of_sources = await read_grants(self._session, [user_id], which=EntitlementGrant.source.in_(sources))
        beside = await read_grants(self._session, [user_id], which=EntitlementGrant.source.not_in(sources))
        return any(fold.opens(grants, beside[of], at) for of, grants in of_sources.items())

    async def held_for_life(self, user_id: str, at: datetime | None, but: str | None = None) -> frozenset[str]:
        """Return the types that a user holds for life, without the grants of the source `but`.

        Grants up to `at` count (None: all).
        """
        grants = await self._session.execute(_LIFETIME_GRANTS_OF_USER, {"user_id": user_id})
        return frozenset(
            grant.entitlement_type for grant in grants if (at is None or grant.granted_at <= at) and grant.source != but
        )

    async def buyer_holds_for_life(self, telegram_id: int) -> frozenset[str]:
        """Return the types that a buyer holds for life, by grants of any date; an unknown buyer holds none."""
        return frozenset(await self._session.scalars(_LIFETIME_GRANTS_OF_BUYER, {"telegram_id": telegram_id}))


def _as_wanted(grant: DaysGranted) -> WantedGrant:
    return WantedGrant(grant.user_id, grant.entitlement_type, grant.source, grant.granted_at, grant.duration_days)
