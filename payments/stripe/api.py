"""Stripe's API, as far as the desk asks it: refunds out; charges, refunds, disputes and events in.

Over the `stripe` package with its AIOHTTP client. What Stripe tells is read by narrow models of our own; what goes
wrong is one of the channel's errors (payments/errors.py). Nothing here tries again: the row that a call is for does.
"""

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar

import aiohttp
import stripe
from loguru import logger
from pydantic import AliasPath, Field, StringConstraints, ValidationError

from payments.channel import MadeRefund
from payments.errors import ChannelAwayError, ChannelPauseError, RefusedByChannelError, UnreadableMoneyError
from payments.recording.fields import Narrow, Seconds, moment
from payments.sale.payload import AMOUNT_MAX

CALL_SECONDS: Final = 15
PAGE_SIZE: Final = 100
"""The most that Stripe lists at once (Stripe API, pagination)."""
REFUND_PAGES_MAX: Final = 10
CHARGE_PAGES_MAX: Final = 100
EVENT_PAGES_MAX: Final = 1_000
PAUSE_SECONDS: Final = 5
"""How long to leave Stripe alone after a 429 that names no time."""
KEY_REFUSED: Final = "authentication"
"""The code of a call that was refused because of the key."""
ROW_KEY: Final = "starledger_refund"
"""The metadata of a refund of ours: the `event_id` of its row."""

_RETURNED: Final = frozenset({"failed", "canceled"})
"""How a refund stands whose money is with the seller again (Stripe API, the refund object: status)."""
_KEY: Final = re.compile(r"'?\b[rs]k_(?:test|live)_[^\s']*'?")
"""A key as Stripe quotes it, in part."""

_Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,255}$")]
_Amount = Annotated[int, Field(gt=0, le=AMOUNT_MAX)]
_Currency = Annotated[str, StringConstraints(pattern="^[a-z]{3}$")]


class _Told(Narrow):
    id: _Id
    charge: _Id
    amount: _Amount
    currency: _Currency
    created: Seconds

    @property
    def happened_at(self) -> datetime:
        """When Stripe made it."""
        return moment(self.created)


_T = TypeVar("_T", bound=Narrow)


class _Page(Narrow):
    data: list[dict[str, Any]]
    has_more: bool


class Refund(_Told):
    """A refund as Stripe has it; `amount` in minor units, `currency` in lower case."""

    status: str | None = None
    row: str | None = Field(default=None, validation_alias=AliasPath("metadata", ROW_KEY))
    """The `event_id` of the refund's row, if we asked for it."""
    failure_reason: str | None = None

    @property
    def is_through(self) -> bool:
        """Tell whether the money has left for the buyer: a pending one has, and an event tells if it comes back."""
        return self.status in {"succeeded", "pending"}

    @property
    def made(self) -> MadeRefund:
        """The same in the words that all channels share."""
        failure = None
        if self.status in _RETURNED:
            failure = self.failure_reason or ("unknown" if self.status == "failed" else self.status)
        currency = self.currency.upper()
        return MadeRefund(self.id, self.amount, currency, self.happened_at, self.row, self.is_through, failure)


class Dispute(_Told):
    """A dispute as Stripe has it: the buyer's bank wants the money back."""

    status: str
    reason: str

    @property
    def is_lost(self) -> bool:
        """Tell whether the money is gone for good."""
        return self.status == "lost"

    @property
    def is_closed(self) -> bool:
        """Tell whether it is over (Stripe API, the dispute object)."""
        return self.status in {"won", "lost", "warning_closed", "prevented"}


class Charge(Narrow):
    """A payment as Stripe has it, of this shop or of another sale in the account; `currency` in lower case."""

    id: _Id
    amount: int
    currency: str
    created: Seconds
    paid: bool
    refunded: bool
    """Whether all of it went back."""
    payment_intent: _Id | None = None

    @property
    def happened_at(self) -> datetime:
        """When it was made."""
        return moment(self.created)


class Event(Narrow):
    """A notice of Stripe's that something has happened to a charge, not what: that is asked of the object itself."""

    id: _Id
    type: str
    created: Seconds
    object_id: _Id = Field(validation_alias=AliasPath("data", "object", "id"))
    object_charge_id: _Id | None = Field(default=None, validation_alias=AliasPath("data", "object", "charge"))
    payment_intent: _Id | None = Field(default=None, validation_alias=AliasPath("data", "object", "payment_intent"))
    status: str | None = Field(default=None, validation_alias=AliasPath("data", "object", "status"))
    """How the object stood then."""

    @property
    def is_of_return(self) -> bool:
        """Tell, of one about a refund, whether its money was with the seller again."""
        return self.status in _RETURNED

    @property
    def charge_id(self) -> str:
        """The charge that it is about: the object itself, or what the object belongs to."""
        return self.object_charge_id or self.object_id

    @property
    def payment_ids(self) -> tuple[str, ...]:
        """By what a payment may be on record: the charge, or the intent that the charge belongs to."""
        return (self.charge_id,) if self.payment_intent is None else (self.charge_id, self.payment_intent)


class StripeApi:
    """One Stripe account. Close it when done."""

    def __init__(self, secret_key: str, api_url: str, session: aiohttp.ClientSession | None = None) -> None:
        """Prepare; a `session` is the way out, and is closed with this (None: the package's own)."""
        self._session = session
        self._http = stripe.AIOHTTPClient(timeout=aiohttp.ClientTimeout(total=CALL_SECONDS), session=session)
        self._client = stripe.StripeClient(
            secret_key, http_client=self._http, base_addresses={"api": api_url}, max_network_retries=0
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
        await self._http.close_async()  # type: ignore[no-untyped-call]  # the package types its own calls only in part

    async def refund(self, charge_id: str, amount: int, *, row: str, idempotency_key: str) -> Refund:
        """Give back `amount` minor units of a charge, for the refund whose audit row is `row`.

        The same key brings the same answer and moves no money again (Stripe API, idempotent requests). Raises
        ChannelAwayError, ChannelPauseError and RefusedByChannelError with Stripe's code.
        """
        said = await self._call(
            "post",
            "/v1/refunds",
            {**_named(charge_id), "amount": amount, "metadata": {ROW_KEY: row}},
            idempotency_key,
        )
        return _read(Refund, said)

    async def refund_now(self, refund_id: str) -> Refund:
        """Retrieve a refund as it stands now. Raises as `refund` does."""
        return _read(Refund, await self._call("get", f"/v1/refunds/{refund_id}"))

    async def refunds(self, charge_id: str) -> list[Refund]:
        """List all refunds of a charge, whoever made them. Raises as `refund` does."""
        pages = self._pages("/v1/refunds", _named(charge_id), REFUND_PAGES_MAX)
        return [_read(Refund, each) async for page in pages for each in page]

    async def dispute(self, dispute_id: str) -> Dispute:
        """Retrieve a dispute as it stands now. Raises as `refund` does."""
        return _read(Dispute, await self._call("get", f"/v1/disputes/{dispute_id}"))

    async def disputes(self, charge_id: str) -> list[Dispute]:
        """List all disputes about a charge. Raises as `refund` does."""
        pages = self._pages("/v1/disputes", _named(charge_id), REFUND_PAGES_MAX)
        return [_read(Dispute, each) async for page in pages for each in page]

    async def charges(self, since: int, until: int) -> list[Charge]:
        """List the charges that were made between two moments, both included (seconds since 1970), newest first.

        Raises as `refund` does.
        """
        wanted = {"created": {"gte": since, "lte": until}}
        pages = self._pages("/v1/charges", wanted, CHARGE_PAGES_MAX)
        return [charge async for page in pages for charge in _readable(Charge, page)]

    async def events(self, event_type: str, since: int | None) -> AsyncIterator[list[Event]]:
        """Give the events of a type a page at a time, from `since` (seconds since 1970) or as far back as Stripe keeps.

        Stripe keeps 30 days (Stripe API, list all events), and gives the newest first. Raises as `refund` does.
        """
        wanted: dict[str, Any] = {"type": event_type}
        if since is not None:
            wanted["created"] = {"gte": since}
        async for page in self._pages("/v1/events", wanted, EVENT_PAGES_MAX):
            yield list(_readable(Event, page))

    async def _pages(self, path: str, wanted: dict[str, Any], pages_max: int) -> AsyncIterator[list[dict[str, Any]]]:
        after: dict[str, str] = {}
        for _ in range(pages_max):
            page = _read(_Page, await self._call("get", path, {**wanted, "limit": PAGE_SIZE, **after}))
            yield page.data
            if not page.has_more or not page.data:
                return
            after = {"starting_after": str(page.data[-1].get("id"))}
        raise RefusedByChannelError("too_much", f"{path} has more than {pages_max} pages of {wanted}")

    async def _call(
        self, method: str, path: str, params: Mapping[str, Any] | None = None, idempotency_key: str | None = None
    ) -> object:
        options = {} if idempotency_key is None else {"idempotency_key": idempotency_key}
        try:
            said = await self._client.raw_request_async(method, path, **(params or {}), **options)
        except stripe.RateLimitError as error:
            raise ChannelPauseError(_retry_after_seconds(error), str(error)) from None
        except (stripe.InvalidRequestError, stripe.CardError, stripe.PermissionError) as error:
            raise RefusedByChannelError(error.code or "refused", _KEY.sub("(the key)", str(error))) from None
        except stripe.AuthenticationError:
            # Its text quotes the key in part.
            raise RefusedByChannelError(KEY_REFUSED, "Stripe does not know the key in STRIPE_SECRET_KEY") from None
        except stripe.StripeError as error:
            raise ChannelAwayError(f"{type(error).__name__}: HTTP {error.http_status}") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            # Cut off within the answer, which the package lets through.
            raise ChannelAwayError(type(error).__name__) from None
        return said.data


def _named(payment_id: str) -> dict[str, str]:
    """Name a payment as Stripe wants it named: by its charge, or by its intent (Stripe API, create a refund).

    Telegram's provider_payment_charge_id has been a charge's id so far; no document says that it stays one.
    """
    return {"payment_intent" if payment_id.startswith("pi_") else "charge": payment_id}


def _read(model: type[_T], said: object) -> _T:
    try:
        return model.model_validate(said)
    except ValidationError as error:
        wrong = ", ".join(sorted({".".join(map(str, each["loc"])) for each in error.errors()}))
        raise UnreadableMoneyError(f"Stripe's {model.__name__.lower()} cannot be read: {wrong}") from None


def _readable(model: type[_T], page: Iterable[object]) -> Iterator[_T]:
    """Read the objects of a page; one that is odd is passed over, so that it does not hide the others."""
    for said in page:
        try:
            yield _read(model, said)
        except UnreadableMoneyError as error:
            logger.error("{}", error)


def _retry_after_seconds(error: stripe.RateLimitError) -> float:
    try:
        return max(1.0, float((error.headers or {}).get("Retry-After", PAUSE_SECONDS)))
    except ValueError:
        return PAUSE_SECONDS
