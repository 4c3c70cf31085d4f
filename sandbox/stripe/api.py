"""Stripe's API over HTTP: the calls that a shop makes, under /v1.

Idempotency keys, refusals, lists in pages and their filters are those of Stripe's API reference. The API refuses any
other call as Stripe refuses an unknown address.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from aiohttp import web

from sandbox.shapes import Json
from sandbox.stripe.account import Account
from sandbox.stripe.errors import IDEMPOTENCY, StripeRefusalError
from sandbox.stripe.lists import page_of
from sandbox.wire import to_json

KEYS_KEPT: Final = timedelta(hours=24)
"""The time for which the answer under an idempotency key is kept (Stripe API, idempotent requests)."""

Form = Mapping[str, str]
Answer = tuple[int, Json]

_KINDS: Final = {
    "payment_methods": "payment_method",
    "charges": "charge",
    "refunds": "refund",
    "disputes": "dispute",
    "events": "event",
}
_METADATA: Final = "metadata["


class AccountApi:
    """The HTTP handlers of Stripe's API, /v1/..."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._kept: dict[str, tuple[datetime, str, Answer]] = {}
        self._writes: dict[str, Callable[[Form], str]] = {
            "payment_methods": self._add_payment_method,
            "charges": self._charge,
            "refunds": self.refund,
        }

    @property
    def keys(self) -> list[str]:
        """Return the idempotency keys that the account keeps."""
        return list(self._kept)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer an HTTP call."""
        status, body = await self.answer(request)
        return web.Response(text=to_json(body), status=status, content_type="application/json")

    async def answer(self, request: web.Request) -> Answer:
        """Carry out a call; return the HTTP status and the body."""
        try:
            self._check_key(request.headers.get("Authorization", ""))
            if request.method == "POST":
                form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
                return self._once(request.headers.get("Idempotency-Key"), request.path, form)
            return 200, self._read(request.path, request.query)
        except StripeRefusalError as refusal:
            return refusal.status, refusal.body()

    def refund(self, form: Form) -> str:
        """Make the refund that a form asks for; return its id."""
        metadata = {name[len(_METADATA) : -1]: value for name, value in form.items() if name.startswith(_METADATA)}
        amount = _integer(form, "amount") if "amount" in form else None
        return self.account.give_back(self._charge_named(form), amount, metadata=metadata, reason=form.get("reason"))

    def _check_key(self, authorization: str) -> None:
        if authorization != f"Bearer {self.account.key}":
            shown = authorization.removeprefix("Bearer ")[:8]
            raise StripeRefusalError(401, f"Invalid API Key provided: {shown}***", "invalid_api_key")

    def _once(self, key: str | None, path: str, form: Form) -> Answer:
        """Carry out a write once: repeat the answer, also a refusal, under the same idempotency key."""
        if key is None:
            return self._write(path, form)
        now = self.account.clock()
        self._kept = {name: kept for name, kept in self._kept.items() if now - kept[0] < KEYS_KEPT}
        asked = f"{path} {sorted(form.items())}"
        if key not in self._kept:
            self._kept[key] = now, asked, self._write(path, form)
        if self._kept[key][1] != asked:
            words = f"Keys for idempotent requests can only be used with the same parameters: {key}"
            raise StripeRefusalError(400, words, kind=IDEMPOTENCY)
        return self._kept[key][2]

    def _write(self, path: str, form: Form) -> Answer:
        write = self._writes.get(path.removeprefix("/v1/"))
        try:
            if write is None:
                raise _unknown("POST", path)
            return 200, dict(self.account.objects[write(form)])
        except StripeRefusalError as refusal:
            return refusal.status, refusal.body()

    def _read(self, path: str, query: Form) -> Json:
        match path.split("/")[2:]:
            case ["events", event_id] if found := [each for each in self.account.events if each["id"] == event_id]:
                return found[0]
            case [name, object_id] if name in _KINDS:
                return self.account.find(_KINDS[name], object_id)
            case [name] if name in _KINDS:
                if "charge" in query:
                    self.account.find("charge", query["charge"])
                return page_of(self.account.listing(_KINDS[name]), path, query)
        raise _unknown("GET", path)

    def _add_payment_method(self, form: Form) -> str:
        return self.account.add_payment_method(_needed(form, "card[number]"))

    def _charge(self, form: Form) -> str:
        method_id = _needed(form, "source")
        return self.account.pay(method_id, _integer(form, "amount"), _needed(form, "currency").lower())

    def _charge_named(self, form: Form) -> str:
        """Find the charge of a refund, by its own id or by its payment intent."""
        if "payment_intent" not in form:
            return _needed(form, "charge")
        for charge in self.account.listing("charge"):
            if charge.get("payment_intent") == form["payment_intent"] and charge["paid"]:
                return str(charge["id"])
        raise StripeRefusalError(404, f"No such payment_intent: '{form['payment_intent']}'", "resource_missing")


def _needed(form: Form, name: str) -> str:
    if not form.get(name):
        raise StripeRefusalError(400, f"Missing required param: {name}.", "parameter_missing")
    return form[name]


def _integer(form: Form, name: str) -> int:
    text = _needed(form, name)
    if not text.isdecimal():
        raise StripeRefusalError(400, f"Invalid integer: {name}", "parameter_invalid_integer")
    return int(text)


def _unknown(method: str, path: str) -> StripeRefusalError:
    return StripeRefusalError(404, f"Unrecognized request URL ({method}: {path}).")
