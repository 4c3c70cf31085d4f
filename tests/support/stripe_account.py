"""A Stripe account that is stricter than localstripe: over HTTP, for the same calls, with what that one lacks.

It keeps idempotency keys, refuses to give back more than is left, knows partial refunds and disputes, and tells all of
it by events, newest first. `faults` spoil the next calls. What a person does in Stripe's dashboard are plain methods.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final

from aiohttp import web

Json = dict[str, Any]
Answer = tuple[int, Json]

KEY: Final = "sk_test_51TestsTestsTests"
DECLINED: Final = "4000000000000002"


class Fault(Enum):
    """What becomes of a call."""

    CUT_BEFORE = auto()
    """The connection is cut before anything is done."""
    CUT_AFTER = auto()
    """It is done, and the answer is lost."""
    CUT_WITHIN = auto()
    """It is done, and the answer ends in the middle."""
    BUSY = auto()
    """429."""
    BROKEN = auto()
    """500."""
    STRANGE = auto()
    """200, and what no call of Stripe's answers."""


@dataclass
class StripeAccount:
    """The account, behind `url`; the times of its objects are the clock's."""

    clock: Callable[[], datetime]
    url: str = ""
    key: str = KEY
    objects: dict[str, Json] = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)
    faults: deque[Fault | None] = field(default_factory=deque)
    queries: list[Mapping[str, str]] = field(default_factory=list)
    refusal: str | None = None
    """The code with which every refund is refused, as of a charge that is disputed."""
    _kept: dict[str, tuple[str, Answer]] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """The idempotency keys that were used."""
        return list(self._kept)

    def charge(self, amount: int = 499, currency: str = "usd", charge_id: str | None = None) -> str:
        """Take money, here or on the seller's own site; return the charge's id."""
        return str(self._add("ch", amount=amount, currency=currency, id=charge_id)["id"])

    def give_back(self, charge_id: str, amount: int | None = None, **odd: object) -> str:
        """Refund in the dashboard, what is left of the charge or a part; return the refund's id. `odd` are facts."""
        charge = self.objects[charge_id]
        amount = amount or charge["amount"] - self.refunded(charge_id)
        facts = {"charge": charge_id, "amount": amount, "currency": charge["currency"], "status": "succeeded"}
        refund = self._add("re", **(facts | odd))
        self.tell("charge.refunded", charge)
        return str(refund["id"])

    def fail_refund(self, refund_id: str) -> None:
        """Have the buyer's bank send a refund back."""
        self.objects[refund_id]["status"] = "failed"
        self.tell("refund.failed", self.objects[refund_id])

    def open_dispute(self, charge_id: str, amount: int | None = None) -> str:
        """Have the buyer's bank ask for the money; return the dispute's id."""
        charge = self.objects[charge_id]
        dispute = self._add(
            "dp",
            charge=charge_id,
            amount=amount or charge["amount"],
            currency=charge["currency"],
            status="needs_response",
            reason="fraudulent",
        )
        self.tell("charge.dispute.created", dispute)
        return str(dispute["id"])

    def close_dispute(self, dispute_id: str, status: str) -> None:
        """Have the bank decide: `lost`, `won`, `warning_closed`."""
        self.objects[dispute_id]["status"] = status
        self.tell("charge.dispute.closed", self.objects[dispute_id])

    def tell(self, event_type: str, about: Json) -> None:
        """Write an event, which shows the object as it is now."""
        event = {
            "id": f"evt_{len(self.events) + 1}",
            "object": "event",
            "type": event_type,
            "created": self._now(),
            "data": {"object": dict(about)},
        }
        self.events.append(event)

    def refunds(self, charge_id: str) -> list[Json]:
        """Return the refunds of a charge, oldest first."""
        return [each for each in self.objects.values() if each["id"][:3] == "re_" and each["charge"] == charge_id]

    def refunded(self, charge_id: str) -> int:
        """Return how much of a charge went back."""
        return sum(each["amount"] for each in self.refunds(charge_id) if each["status"] != "failed")

    def _now(self) -> int:
        return int(self.clock().timestamp())

    def _add(self, prefix: str, **facts: Any) -> Json:
        made = {
            "created": self._now(),
            "metadata": {},
            **{key: value for key, value in facts.items() if value is not None},
        }
        made.setdefault("id", f"{prefix}_{len(self.objects) + 1}")
        self.objects[made["id"]] = made
        return made

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a call as Stripe does, or as the next fault says."""
        self.queries.append(request.query)
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response(
                _error(f"Invalid API Key provided: {self.key[:8]}***", "invalid_api_key"), status=401
            )
        fault = self.faults.popleft() if self.faults else None
        if fault is Fault.CUT_BEFORE:
            return _cut(request)
        if fault is Fault.BUSY:
            return web.json_response(_error("slow down", "rate_limit"), status=429, headers={"Retry-After": "7"})
        if fault is Fault.BROKEN:
            return web.json_response(_error("an error of ours", "api_error"), status=500)
        if fault is Fault.STRANGE:
            return web.json_response({"status": "ok"})
        form = dict(await request.post())
        status, body = self._answer_once(request, form) if request.method == "POST" else self._read(request)
        if fault is Fault.CUT_AFTER:
            return _cut(request)
        if fault is Fault.CUT_WITHIN:
            response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"id": "')
            return _cut(request)
        return web.json_response(body, status=status)

    def _answer_once(self, request: web.Request, form: Json) -> Answer:
        key, asked = request.headers.get("Idempotency-Key"), f"{request.path} {sorted(form.items())}"
        if key is None:
            return self._write(request.path, form)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = asked, self._write(request.path, form)
        if kept[0] != asked:
            return 400, _error("Keys for idempotent requests can only be used with the same parameters", "idempotency")
        return kept[1]

    def _write(self, path: str, form: Json) -> Answer:
        if path == "/v1/payment_methods":
            return 200, self._add("pm", number=form["card[number]"])
        if path == "/v1/charges":
            if self.objects[form["source"]]["number"] == DECLINED:
                return 402, _error("Your card was declined.", "card_declined")
            return 200, self.objects[self.charge(int(form["amount"]), form["currency"])]
        charge = self.objects.get(form["charge"])
        if charge is None:
            return 404, _error(f"No such charge: '{form['charge']}'", "resource_missing")
        if self.refusal is not None:
            return 400, _error("This charge cannot be refunded now.", self.refusal)
        left = charge["amount"] - self.refunded(charge["id"])
        amount = int(form.get("amount", left))
        if left == 0:
            return 400, _error(f"Charge {charge['id']} has already been refunded.", "charge_already_refunded")
        if amount > left:
            return 400, _error(f"Refund amount ({amount}) is greater than unrefunded amount ({left})", "")
        metadata = {key[len("metadata[") : -1]: value for key, value in form.items() if key.startswith("metadata[")}
        return 200, self.objects[self.give_back(charge["id"], amount, metadata=metadata)]

    def _read(self, request: web.Request) -> Answer:
        match request.path.split("/")[2:], request.query:
            case ["refunds"], query:
                return 200, _page(list(reversed(self.refunds(query["charge"]))), query)
            case ["events"], query:
                since = int(query.get("created[gte]", 0))
                found = [each for each in self.events if each["type"] == query["type"] and each["created"] >= since]
                return 200, _page(list(reversed(found)), query)
            case [_, object_id], _ if object_id in self.objects:
                return 200, self.objects[object_id]
        return 404, _error(f"No such thing: {request.path}", "resource_missing")


def _page(found: list[Json], query: Any) -> Json:
    after, limit = query.get("starting_after"), int(query.get("limit", 10))
    begin = 1 + [each["id"] for each in found].index(after) if after else 0
    return {"object": "list", "data": found[begin : begin + limit], "has_more": len(found) > begin + limit}


def _error(words: str, code: str) -> Json:
    return {"error": {"type": "invalid_request_error", "message": words, "code": code}}


def _cut(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@asynccontextmanager
async def running_stripe_account(clock: Callable[[], datetime]) -> AsyncIterator[StripeAccount]:
    """Run an account beside the block."""
    account = StripeAccount(clock)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", account.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        account.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield account
    finally:
        await runner.cleanup()
