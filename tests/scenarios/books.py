"""The invariants of a shop's books: of its rows at every moment, and at the end."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.states import TELEGRAM_STARS, EventOutcome, EventStatus
from db.tables import Entitlement, EntitlementGrant, OutboxMessage, StripeEvent, Subscription
from entitlements import fold
from payments.methods import METHODS
from payments.notices import Notice
from payments.settlement.lateness import delay_source
from payments.subscriptions.grants import grace_source
from sandbox.charges import Charge
from sandbox.shapes import Json


@dataclass(frozen=True)
class Books:
    """The rows of a shop's database."""

    events: Sequence[StripeEvent]
    grants: Sequence[EntitlementGrant]
    access: Sequence[Entitlement]
    outbox: Sequence[OutboxMessage]
    subscriptions: Sequence[Subscription]

    @classmethod
    async def read(cls, session: AsyncSession) -> Self:
        """Read all rows."""
        return cls(
            (await session.scalars(select(StripeEvent))).all(),
            (await session.scalars(select(EntitlementGrant))).all(),
            (await session.scalars(select(Entitlement))).all(),
            (await session.scalars(select(OutboxMessage))).all(),
            (await session.scalars(select(Subscription))).all(),
        )

    @property
    def stars(self) -> Sequence[StripeEvent]:
        """The rows of charges and refunds in Stars."""
        return [each for each in self.events if each.payment_method == TELEGRAM_STARS]

    @property
    def is_quiet(self) -> bool:
        """True if nothing is due, now or later."""
        events = [each.due_at for each in self.events]
        told = [each.due_at for each in self.outbox]
        renewals = [each.due_at for each in self.subscriptions]
        return not any(events + told + renewals)

    def grants_of(self, event_id: str) -> Sequence[EntitlementGrant]:
        """Return what a charge has opened, grace and the time given back included."""
        sources = {method.source(event_id) for method in METHODS.values()}
        return [
            each for each in self.grants if each.source in sources | {delay_source(event_id), grace_source(event_id)}
        ]

    def check(self, charges: Mapping[str, Charge], ledger: Sequence[Json]) -> None:
        """Assert what holds at every moment; `charges` and `ledger` are Telegram's."""
        for each in self.stars:
            if each.status == EventStatus.PROCESSED:
                charge = charges[each.refund_of or each.event_id]
                assert (each.amount_cents, each.currency) == (charge.stars, "XTR")
                assert each.refund_of is None or charge.refunded_at is not None
        granted = {each.event_id for each in self.events if each.outcome == EventOutcome.GRANTED}
        explained = {grant.id for event_id in granted for grant in self.grants_of(event_id)}
        assert {grant.id for grant in self.grants} <= explained, "a grant without a charge"
        for each in self.events:
            if each.outcome == EventOutcome.GRANTED:
                source = METHODS[each.payment_method].source(each.event_id)
                types = [grant.entitlement_type for grant in self.grants if grant.source == source]
                assert len(types) == len(set(types)) > 0
        self._check_fold()
        owed = Counter((each.event_id, each.kind, each.chat_id) for each in self.outbox)
        assert max(owed.values(), default=1) == 1
        assert max(Counter((row["id"], "source" in row) for row in ledger).values(), default=1) == 1

    def _check_fold(self) -> None:
        of: dict[tuple[str, str], list[fold.Grant]] = {}
        for grant in self.grants:
            facts = fold.Grant(
                granted_at=grant.granted_at,
                duration_days=grant.duration_days,
                ends_at=grant.ends_at,
                revoked_at=grant.revoked_at,
            )
            of.setdefault((grant.user_id, grant.entitlement_type), []).append(facts)
        standing = {(each.user_id, each.entitlement_type): each for each in self.access}
        assert standing.keys() == of.keys()
        for key, grants in of.items():
            wanted = fold.fold_grants(grants)
            assert (standing[key].expires_at, standing[key].revoked_at) == (wanted.expires_at, wanted.revoked_at)

    def check_settled(self, charges: Sequence[Charge]) -> None:
        """Assert that every charge in Stars is at its end: as access, or given back; and that people were told."""
        settled = {each.event_id: each for each in self.stars}
        assert [each.event_id for each in self.stars if each.status != EventStatus.PROCESSED] == []
        refunded = {f"refund:{each.id}" for each in charges if each.refunded_at is not None}
        assert settled.keys() == {each.id for each in charges} | refunded
        for charge in charges:
            self._check_charge(charge, settled)
        # The word that it is done is held back while a person has to decide on it.
        parked = {each.event_id for each in self.events if each.outcome == EventOutcome.PARKED}
        unsent = [each for each in self.outbox if each.sent_at is None]
        assert [each.kind for each in unsent if each.kind != Notice.REFUND_DONE or each.event_id not in parked] == []

    def _check_charge(self, charge: Charge, settled: Mapping[str, StripeEvent]) -> None:
        row = settled[charge.id]
        is_revoked = {each.revoked_at is not None for each in self.grants_of(charge.id)}
        told = {each.kind for each in self.outbox if each.event_id in {charge.id, f"refund:{charge.id}"}}
        if charge.refunded_at is not None:
            assert is_revoked <= {True}
            assert Notice.REFUNDED in told or _is_from_ledger(settled[f"refund:{charge.id}"])
        else:
            assert row.outcome == EventOutcome.GRANTED
            assert is_revoked == {False}
            assert Notice.GRANTED in told or _is_from_ledger(row)

    def holds_for_life(self, user_id: str, entitlement: str) -> bool:
        """Tell whether somebody has paid for something for ever."""
        return any(
            each.duration_days is None and each.ends_at is None and each.revoked_at is None
            for each in self.grants
            if (each.user_id, each.entitlement_type) == (user_id, entitlement)
        )


def _is_from_ledger(row: StripeEvent) -> bool:
    """Tell what only the ledger told of: it may be old news, which nobody hears."""
    return row.ledger_seen_at == row.created_at
