"""Records news of a card charge from Stripe: refunds, returned refunds, lost disputes; tells the admins of others."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from loguru import logger

from db.clock import Clock
from db.engine import Database
from db.retry import retry_transaction
from db.tables import StripeEvent, User
from payments.audit import events, fact_rows
from payments.audit.balance import completing_refund
from payments.audit.facts import RefundFact
from payments.channel import MadeRefund
from payments.errors import UnreadableMoneyError, UnrecordableError
from payments.methods import CARDS
from payments.notices import Admins, Notice, money_facts
from payments.recording.fields import moment
from payments.refunds.at_provider import payer, record_provider_refunds, record_returned_refund
from payments.stripe.api import Dispute, Event, StripeApi

REFUNDED: Final = "charge.refunded"
REFUND_FAILED: Final = "refund.failed"
REFUND_UPDATED: Final = "refund.updated"
"""Any news of a refund. This event alone tells of a canceled refund (Stripe API, types of events)."""
DISPUTE_OPENED: Final = "charge.dispute.created"
DISPUTE_CLOSED: Final = "charge.dispute.closed"
EVENT_TYPES: Final = (REFUND_FAILED, REFUND_UPDATED, REFUNDED, DISPUTE_OPENED, DISPUTE_CLOSED)
"""Returned refunds come first, because a later refund may otherwise seem to complete the charge."""


class ChargeUpdates:
    """Records refunds and disputes at Stripe as audit rows of our card charges."""

    def __init__(
        self,
        database: Database,
        api: StripeApi,
        clock: Clock,
        admins: Admins,
        on_recorded: Callable[[], None],
    ) -> None:
        """Prepare; calls `on_recorded` when it has recorded an audit row or a notice that is due."""
        self._database = database
        self._api = api
        self._clock = clock
        self._admins = admins
        self._on_recorded = on_recorded

    @retry_transaction
    async def record_refunds(self, charge_id: str, charge: StripeEvent) -> None:
        """Record the refunds that Stripe has made of a card charge of ours."""
        made = [each.made for each in await self._api.list_refunds(charge_id)]
        async with self._database.transaction() as session:
            await events.lock(session, charge.event_id)
            await record_provider_refunds(session, charge, made, self._clock())
        self._on_recorded()

    async def update_from_provider(self, charge: StripeEvent, user: User) -> None:
        """Record a late card charge's refunds and lost disputes by Stripe's lists; tell the admins of open disputes."""
        charge_id = CARDS.provider_charge_id(charge.event_id)
        try:
            await self.record_refunds(charge_id, charge)
            for dispute in await self._api.list_disputes(charge_id):
                if dispute.is_lost:
                    # A dispute at Stripe has no date of its closing, so that the present stands for it.
                    await self._record_lost_dispute(dispute, charge, user, self._clock())
                elif not dispute.is_closed:
                    await self.tell_admins(Notice.DISPUTED, dispute, charge, user, dispute.reason)
        except UnreadableMoneyError:
            raise
        except UnrecordableError as error:
            logger.bind(charge_id=charge.event_id).error(
                "Stripe's refunds and disputes of a late charge cannot be recorded: {}", error
            )
            await self.tell_admins(Notice.UNRECORDED, charge, charge, user, str(error))

    async def _record_returned_refund(self, event: Event, charge: StripeEvent, user: User) -> None:
        """Record that a made refund of a card charge has returned to the seller; else tell the admins."""
        made = [each.made for each in await self._api.list_refunds(event.charge_id)]
        failed = next((each for each in made if each.id == event.object_id), None)
        if failed is None or failed.failure is None:
            return
        failed_at = moment(event.created)
        async with self._database.transaction() as session:
            await events.lock(session, charge.event_id)
            is_on_record = await record_returned_refund(session, charge, made, failed, failed_at, self._clock())
            last = completing_refund(charge, await events.refunds_of(session, charge.event_id))
        if is_on_record:
            self._on_recorded()
        else:
            stays = "open" if last is None else "closed"
            await self.tell_admins(Notice.REFUND_FAILED, failed, charge, user, failed.failure, stays=stays)

    async def apply_event(self, event: Event, charge: StripeEvent, user: User) -> None:
        """Record the returned refund or lost dispute of a Stripe event; tell the admins of any other dispute."""
        if event.type == REFUND_UPDATED and not event.is_of_return:
            return
        if event.type in {REFUND_FAILED, REFUND_UPDATED}:
            await self._record_returned_refund(event, charge, user)
            return
        dispute = await self._api.fetch_dispute(event.object_id)
        if event.type == DISPUTE_OPENED:
            await self.tell_admins(Notice.DISPUTED, dispute, charge, user, dispute.reason)
        elif dispute.is_lost:
            await self._record_lost_dispute(dispute, charge, user, moment(event.created))
        else:
            await self.tell_admins(Notice.DISPUTE_CLOSED, dispute, charge, user, dispute.status)

    @retry_transaction
    async def _record_lost_dispute(
        self, dispute: Dispute, charge: StripeEvent, user: User, closed_at: datetime
    ) -> None:
        """Record a lost dispute as a refund of its card charge."""
        fact = RefundFact(
            charge_id=charge.event_id,
            person=payer(user),
            amount=dispute.amount,
            currency=dispute.currency.upper(),
            happened_at=closed_at,
            part=dispute.id,
            is_dispute=True,
            reason=f"dispute lost: {dispute.reason}",
        )
        async with self._database.transaction() as session:
            await fact_rows.record(session, [fact], self._clock())
        self._on_recorded()

    @retry_transaction
    async def tell_admins(
        self,
        notice: Notice,
        about: MadeRefund | Dispute | Event | StripeEvent,
        charge: StripeEvent,
        user: User,
        reason: str | None = None,
        **facts: Any,
    ) -> None:
        """Owe the admins a notice about news from Stripe of a card charge, once for each object at Stripe."""
        facts |= money_facts(charge) | {"buyer": user.telegram_id, "reason": reason}
        if not isinstance(about, Event | StripeEvent):
            facts |= {"amount": about.amount, "currency": about.currency.upper()}
        async with self._database.transaction() as session:
            # The object's id is the notice's key, so that two events about it make one notice.
            await self._admins.tell(session, notice, f"stripe:{about.id}", facts, self._clock())
        self._on_recorded()
