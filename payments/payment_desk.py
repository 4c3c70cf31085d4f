"""The payment desk: takes the requests of chats and commands, each in one transaction.

It imports no aiogram, because that import takes seconds and most commands never speak to Telegram.
`TelegramPaymentHandler` (payments/telegram.py) is the same desk with Telegram beside it.
"""

from collections.abc import Sequence
from datetime import datetime

from db.clock import Clock
from db.engine import Database
from db.retry import retry_transaction
from db.states import Renewal
from db.tables import StripeEvent, Subscription
from payments import waiting
from payments.audit import erasure, history
from payments.audit.erasure import Erased
from payments.audit.history import Entry, History, Page, UserRecord
from payments.refunds import requests
from payments.refunds.requests import REASON_LENGTH_MAX, RequestedRefund
from payments.renewals import is_over
from payments.subscriptions import listing
from payments.subscriptions.listing import Account
from payments.waiting import LISTED_MAX, Backlog, Pending, RetryResult, retry_id

__all__ = [
    "LISTED_MAX",
    "REASON_LENGTH_MAX",
    "Account",
    "Backlog",
    "Entry",
    "Erased",
    "History",
    "Page",
    "PaymentDesk",
    "Pending",
    "RequestedRefund",
    "RetryResult",
    "UserRecord",
    "is_over",
    "retry_id",
]


class PaymentDesk:
    """Opens the transaction of each request, and hands the request to its room.

    Every method raises SQLAlchemy's errors when the database is away.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def wake(self) -> None:
        """Wake the loops for rows that have become due. None runs here: those of a running desk find them in 10 s."""

    @retry_transaction
    async def request_refund(
        self,
        charge_id: str,
        *,
        reason: str | None,
        requested_by: str,
        reply_chat_id: int | None = None,
        reply_topic_id: int | None = None,
    ) -> RequestedRefund:
        """Record a refund, due at once. Raises RefundRefusedError.

        The caller answers the person first, then calls `wake`, because the refund's own notice may follow at once.
        """
        async with self._database.transaction() as session:
            refund = await requests.request_refund(
                session,
                charge_id,
                reason=reason,
                requested_by=requested_by,
                reply_chat_id=reply_chat_id,
                reply_topic_id=reply_topic_id,
                now=self._clock(),
            )
            return await requests.read_requested(session, refund)

    async def was_fully_refunded(self, charge_id: str) -> bool:
        """Tell whether refunds ever gave back all of a charge, which ended its access."""
        async with self._database.reading() as session:
            return await requests.was_fully_refunded(session, charge_id)

    async def find_waiting_refund(self, charge_id: str) -> StripeEvent | None:
        """Read a charge's refund that waits for its provider or is parked; None: there is none."""
        async with self._database.reading() as session:
            return await requests.find_waiting(session, charge_id)

    async def list_pending(self) -> Pending:
        """Read the events, renewals and updates that wait for an attempt or an admin."""
        async with self._database.reading() as session:
            return await waiting.list_pending(session)

    async def read_backlog(self) -> Backlog:
        """Count the waiting entries, by kind and state."""
        async with self._database.reading() as session:
            return await waiting.read_backlog(session)

    async def retry(self, waiting_id: str) -> RetryResult:
        """Retry the waiting entry with an id of `list_pending`: make it due, and wake the loops."""
        result = await self._retry(waiting_id)
        self.wake()
        return result

    @retry_transaction
    async def _retry(self, waiting_id: str) -> RetryResult:
        async with self._database.transaction() as session:
            return await waiting.retry(session, waiting_id, self._clock())

    async def read_account(self, telegram_id: int, now: datetime) -> Account | None:
        """Read a user's open access and unended subscriptions; None: an unknown user."""
        async with self._database.reading() as session:
            return await listing.read_account(session, telegram_id, now)

    async def find_subscription(self, subscription_id: str, telegram_id: int) -> Subscription | None:
        """Read one subscription of a user; None: there is none, or it is another's."""
        async with self._database.reading() as session:
            return await listing.find(session, subscription_id, telegram_id)

    async def cancel_renewal(self, subscription_id: str, telegram_id: int) -> Subscription | None:
        """Record that a subscriber cancels a renewal; None: it is another's, or over.

        A renewal is over when Telegram takes no more anyway.
        """
        return await self._want_renewal(subscription_id, telegram_id, Renewal.CANCELED)

    async def resume_renewal(self, subscription_id: str, telegram_id: int) -> Subscription | None:
        """Record that a subscriber resumes a renewal; None: it is another's, or the subscriber cannot resume it."""
        return await self._want_renewal(subscription_id, telegram_id, Renewal.ALLOWED)

    async def _want_renewal(self, subscription_id: str, telegram_id: int, renewal: Renewal) -> Subscription | None:
        row = await self._record_wish(subscription_id, telegram_id, renewal)
        self.wake()
        return row

    @retry_transaction
    async def _record_wish(self, subscription_id: str, telegram_id: int, renewal: Renewal) -> Subscription | None:
        async with self._database.transaction() as session:
            return await listing.record_wish(session, subscription_id, telegram_id, renewal, self._clock())

    async def read_history(self, telegram_id: int, number: int = 1) -> History | None:
        """Read page `number` (from 1) of a user's history; None: the user is unknown."""
        async with self._database.reading() as session:
            return await history.read_history(session, telegram_id, number)

    async def read_records(self, who: int | str, pages_max: int) -> Sequence[UserRecord]:
        """Read all rows on record of a Telegram id, or of everybody under a @username.

        The @username is without the @, and the last one that the desk has seen.
        """
        async with self._database.reading() as session:
            return await history.read_records(session, who, self._clock(), pages_max)

    @retry_transaction
    async def erase(self, telegram_id: int) -> Erased | None:
        """Erase a person's name and texts, and count them; None: nobody has this id."""
        async with self._database.transaction() as session:
            return await erasure.erase(session, telegram_id, self._clock())
