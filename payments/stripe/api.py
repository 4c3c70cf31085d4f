"""Calls Stripe's API: makes refunds; lists charges, refunds, disputes and events.

It uses the `stripe` package with its AIOHTTP client. Narrow models of our own read Stripe's objects, and every failure
is one of the channel's errors (payments/errors.py). Each method calls once; a retry is up to the caller's row.
"""

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar

import aiohttp
import stripe
from loguru import logger
from pydantic import AliasPath, Field, StringConstraints, ValidationError

from db.limits import AMOUNT_MAX
from payments.channel import MadeRefund
from payments.errors import ChannelAwayError, ChannelPauseError, RefusedByChannelError, UnreadableMoneyError
from payments.recording.fields import Narrow, Seconds, moment

CALL_SECONDS: Final = 15
PAGE_SIZE: Final = 100
"""The most objects that Stripe lists in one answer (Stripe API, pagination)."""
REFUND_PAGES_MAX: Final = 10
CHARGE_PAGES_MAX: Final = 100
EVENT_PAGES_MAX: Final = 1_000
RETRY_AFTER_SECONDS: Final = 5
"""The pause after a 429 of Stripe's that names no time."""
KEY_REFUSED: Final = "authentication"
"""The error code of a call whose key Stripe refuses."""
ROW_KEY: Final = "starledger_refund"
"""The metadata key of a refund of ours: it holds the `event_id` of the refund's row."""

_RETURNED_STATUSES: Final = frozenset({"failed", "canceled"})
"""Statuses of a refund whose money has returned to the seller (Stripe API, the refund object: status)."""
_QUOTED_KEY: Final = re.compile(r"'?\b[rs]k_(?:test|live)_[^\s']*'?")
"""A secret key as Stripe's error texts quote it, in part."""

_Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,255}$")]
_Amount = Annotated[int, Field(gt=0, le=AMOUNT_MAX)]
_Currency = Annotated[str, StringConstraints(pattern="^[a-z]{3}$")]


class _ChargeObject(Narrow):
    id: _Id
    charge: _Id
    amount: _Amount
    currency: _Currency
    created: Seconds

    @property
    def happened_at(self) -> datetime:
        """The moment at which Stripe made the refund or dispute."""
        return moment(self.created)


_T = TypeVar("_T", bound=Narrow)


class _Page(Narrow):
    data: list[dict[str, Any]]
    has_more: bool


class Refund(_ChargeObject):
    """A refund at Stripe; `amount` in minor units, `currency` in lower case."""

    status: str | None = None
    row: str | None = Field(default=None, validation_alias=AliasPath("metadata", ROW_KEY))
    """The `event_id` of the refund's audit row, if the desk made the refund."""
    failure_reason: str | None = None

    @property
    def is_through(self) -> bool:
        """Tell whether Stripe has sent the refund to the buyer; if a pending one returns, a Stripe event says so."""
        return self.status in {"succeeded", "pending"}

    @property
    def made(self) -> MadeRefund:
        """The Stripe refund as a MadeRefund, which all channels share."""
        failure = None
        if self.status in _RETURNED_STATUSES:
            failure = self.failure_reason or ("unknown" if self.status == "failed" else self.status)
        currency = self.currency.upper()
        return MadeRefund(self.id, self.amount, currency, self.happened_at, self.row, self.is_through, failure)


class Dispute(_ChargeObject):
    """A dispute at Stripe: the buyer's bank wants the money back."""

    status: str
    reason: str

    @property
    def is_lost(self) -> bool:
        """Tell whether the seller has lost the dispute: the buyer's bank keeps the money for good."""
        return self.status == "lost"

    @property
    def is_closed(self) -> bool:
        """Tell whether the dispute is over (Stripe API, the dispute object)."""
        return self.status in {"won", "lost", "warning_closed", "prevented"}


class StripeCharge(Narrow):
    """A charge at Stripe, of this shop or of another one in the account; `currency` in lower case."""

    id: _Id
    amount: int
    currency: str
    created: Seconds
    paid: bool
    refunded: bool
    """Stripe has refunded the whole charge."""
    payment_intent: _Id | None = None

    @property
    def happened_at(self) -> datetime:
        """The moment at which Stripe made the charge."""
        return moment(self.created)


class Event(Narrow):
    """A Stripe event: it says that something happened to a charge; the desk fetches the object itself for the rest."""

    id: _Id
    type: str
    created: Seconds
    object_id: _Id = Field(validation_alias=AliasPath("data", "object", "id"))
    object_charge_id: _Id | None = Field(default=None, validation_alias=AliasPath("data", "object", "charge"))
    payment_intent: _Id | None = Field(default=None, validation_alias=AliasPath("data", "object", "payment_intent"))
    status: str | None = Field(default=None, validation_alias=AliasPath("data", "object", "status"))
    """The object's status at the time of the event."""

    @property
    def is_of_return(self) -> bool:
        """Tell whether the refund that a Stripe event is about had returned to the seller."""
        return self.status in _RETURNED_STATUSES

    @property
    def charge_id(self) -> str:
        """The id of the charge that a Stripe event is about: the event's object, or the charge of that object."""
        return self.object_charge_id or self.object_id

    @property
    def payment_ids(self) -> tuple[str, ...]:
        """The ids under which the payment of a Stripe event may be on record: the charge's, or the payment intent's."""
        return (self.charge_id,) if self.payment_intent is None else (self.charge_id, self.payment_intent)


class StripeApi:
    """Calls the API of one Stripe account. The caller closes it."""

    def __init__(self, secret_key: str, api_url: str, session: aiohttp.ClientSession | None) -> None:
        """Prepare; `session` carries the calls, and `close` closes it (None: the package's own)."""
        self.page_size = PAGE_SIZE
        self.refund_pages_max = REFUND_PAGES_MAX
        self.charge_pages_max = CHARGE_PAGES_MAX
        self._session = session
        self._http = stripe.AIOHTTPClient(timeout=aiohttp.ClientTimeout(total=CALL_SECONDS), session=session)
        self._client = stripe.StripeClient(
            secret_key, http_client=self._http, base_addresses={"api": api_url}, max_network_retries=0
        )

    async def close(self) -> None:
        """Close the connections to Stripe's API."""
        if self._session is not None:
            await self._session.close()
        await self._http.close_async()  # type: ignore[no-untyped-call]  # the package types its own calls only in part

    async def refund(self, charge_id: str, amount: int, *, row: str, idempotency_key: str) -> Refund:
        """Have Stripe refund `amount` minor units of a charge, for the audit row `row`; return Stripe's refund.

        The same idempotency key brings the same answer and moves no money again (Stripe API, idempotent requests).
        Raises ChannelAwayError, ChannelPauseError and RefusedByChannelError with Stripe's code.
        """
        said = await self._call_stripe(
            "post",
            "/v1/refunds",
            {**_payment_parameter(charge_id), "amount": amount, "metadata": {ROW_KEY: row}},
            idempotency_key,
        )
        return _read_object(Refund, said)

    async def fetch_refund(self, refund_id: str) -> Refund:
        """Fetch a refund as it stands now at Stripe. Raises as `refund` does."""
        return _read_object(Refund, await self._call_stripe("get", f"/v1/refunds/{refund_id}"))

    async def list_refunds(self, charge_id: str) -> list[Refund]:
        """List all refunds of a charge at Stripe, the desk's and others. Raises as `refund` does."""
        pages = self._list_pages("/v1/refunds", _payment_parameter(charge_id), self.refund_pages_max)
        return [_read_object(Refund, each) async for page in pages for each in page]

    async def fetch_dispute(self, dispute_id: str) -> Dispute:
        """Fetch a dispute as it stands now at Stripe. Raises as `refund` does."""
        return _read_object(Dispute, await self._call_stripe("get", f"/v1/disputes/{dispute_id}"))

    async def list_disputes(self, charge_id: str) -> list[Dispute]:
        """List all disputes about a charge at Stripe. Raises as `refund` does."""
        pages = self._list_pages("/v1/disputes", _payment_parameter(charge_id), self.refund_pages_max)
        return [_read_object(Dispute, each) async for page in pages for each in page]

    async def list_charges(self, since: int, until: int) -> list[StripeCharge]:
        """List the charges at Stripe between two moments (seconds since 1970), both included, newest first.

        Raises as `refund` does.
        """
        wanted = {"created": {"gte": since, "lte": until}}
        pages = self._list_pages("/v1/charges", wanted, self.charge_pages_max)
        return [charge async for page in pages for charge in _read_page(StripeCharge, page)]

    async def list_events(self, event_type: str, since: int | None) -> AsyncIterator[list[Event]]:
        """Yield Stripe's events of a type since a moment (seconds since 1970), in pages, newest first.

        Without `since` they go as far back as Stripe keeps events: 30 days (Stripe API, list all events). Raises as
        `refund` does.
        """
        wanted: dict[str, Any] = {"type": event_type}
        if since is not None:
            wanted["created"] = {"gte": since}
        async for page in self._list_pages("/v1/events", wanted, EVENT_PAGES_MAX):
            yield list(_read_page(Event, page))

    async def _list_pages(
        self, path: str, wanted: dict[str, Any], pages_max: int
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield the pages of a list at Stripe. Raises RefusedByChannelError if it has more than `pages_max`."""
        after: dict[str, str] = {}
        for _ in range(pages_max):
            page = _read_object(
                _Page, await self._call_stripe("get", path, {**wanted, "limit": self.page_size, **after})
            )
            yield page.data
            if not page.has_more or not page.data:
                return
            after = {"starting_after": str(page.data[-1].get("id"))}
        raise RefusedByChannelError("too_much", f"{path} has more than {pages_max} pages of {wanted}")

    async def _call_stripe(
        self, method: str, path: str, params: Mapping[str, Any] | None = None, idempotency_key: str | None = None
    ) -> object:
        """Call Stripe's API once and return the answer. Turns each failure into one of the channel's errors."""
        options = {} if idempotency_key is None else {"idempotency_key": idempotency_key}
        try:
            said = await self._client.raw_request_async(method, path, **(params or {}), **options)
        except stripe.RateLimitError as error:
            raise ChannelPauseError(_retry_after_seconds(error), str(error)) from None
        except (stripe.InvalidRequestError, stripe.CardError, stripe.PermissionError) as error:
            raise RefusedByChannelError(error.code or "refused", _QUOTED_KEY.sub("(the key)", str(error))) from None
        except stripe.AuthenticationError:
            # Stripe's own text quotes a part of the key, so that it must stay out of the error.
            raise RefusedByChannelError(KEY_REFUSED, "Stripe does not know the key in STRIPE_SECRET_KEY") from None
        except stripe.StripeError as error:
            raise ChannelAwayError(f"{type(error).__name__}: HTTP {error.http_status}") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            # When the connection breaks within an answer, the package lets aiohttp's own error through.
            raise ChannelAwayError(type(error).__name__) from None
        return said.data


def _payment_parameter(payment_id: str) -> dict[str, str]:
    """Return the parameter that names a payment to Stripe: a charge or a payment intent (Stripe API, create a refund).

    Telegram's provider_payment_charge_id has been a charge's id so far; no document says that it stays one.
    """
    return {"payment_intent" if payment_id.startswith("pi_") else "charge": payment_id}


def _read_object(model: type[_T], said: object) -> _T:
    """Read one of Stripe's objects by its model. Raises UnreadableMoneyError."""
    try:
        return model.model_validate(said)
    except ValidationError as error:
        wrong = ", ".join(sorted({".".join(map(str, each["loc"])) for each in error.errors()}))
        raise UnreadableMoneyError(f"Stripe's {model.__name__.lower()} cannot be read: {wrong}") from None


def _read_page(model: type[_T], page: Iterable[object]) -> Iterator[_T]:
    """Read the objects of one of Stripe's pages; log and skip an unreadable one, so that it hides no other."""
    for said in page:
        try:
            yield _read_object(model, said)
        except UnreadableMoneyError as error:
            logger.error("{}", error)


def _retry_after_seconds(error: stripe.RateLimitError) -> float:
    """Return the pause in seconds that Stripe asks for by a 429."""
    try:
        return max(1.0, float((error.headers or {}).get("Retry-After", RETRY_AFTER_SECONDS)))
    except ValueError:
        return RETRY_AFTER_SECONDS
