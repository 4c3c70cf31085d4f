"""The sandbox's Stripe account at an address of its own, with faults that spoil the next calls."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from enum import Enum, auto
from random import Random
from typing import Any, Final

from aiohttp import web

from sandbox.stripe.account import Account
from sandbox.stripe.api import AccountApi, Form
from sandbox.stripe.errors import StripeRefusalError

KEY: Final = "sk_test_51TestsTestsTests"
RETRY_AFTER: Final = "7"
"""How long a 429 asks to be left alone, in seconds."""


class Fault(Enum):
    """The fate of a call."""

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


class StripeAccount(Account):
    """An account behind `url`: what is asked of it, and what goes wrong then."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        super().__init__(clock, Random(1), KEY)  # noqa: S311 - identifiers, no secrets
        self.api = _SpoiltApi(self)
        self.url = ""
        self.faults: deque[Fault | None] = deque()
        self.queries: list[Mapping[str, str]] = []
        self.refusal: str | None = None
        """The code with which every refund is refused that is asked for over the API."""

    @property
    def keys(self) -> list[str]:
        """The idempotency keys that were used."""
        return self.api.keys

    def charge(self, amount: int = 499, currency: str = "usd", **odd: Any) -> str:
        """Take money on the seller's own site; return the charge's id."""
        return super().charge(amount, currency, **odd)

    def cancel_refund(self, refund_id: str) -> None:
        """Cancel a refund in the dashboard: the money never leaves for the buyer, or is fetched back."""
        refund = self.find("refund", refund_id)
        refund["status"] = "canceled"
        self._sum_up(self.find("charge", refund["charge"]))
        self.tell("refund.updated", refund)

    def refunded(self, charge_id: str) -> int:
        """Give how much of a charge went back and stayed there."""
        canceled = sum(int(each["amount"]) for each in self.refunds(charge_id) if each["status"] == "canceled")
        return super().refunded(charge_id) - canceled


class _SpoiltApi(AccountApi):
    account: StripeAccount

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a call as Stripe does, or as the next fault says."""
        self.account.queries.append(request.query)
        fault = self.account.faults.popleft() if self.account.faults else None
        match fault:
            case Fault.CUT_BEFORE:
                return _cut(request)
            case Fault.BUSY:
                return web.json_response(_error("rate_limit"), status=429, headers={"Retry-After": RETRY_AFTER})
            case Fault.BROKEN:
                return web.json_response(_error("api_error"), status=500)
            case Fault.STRANGE:
                return web.json_response({"status": "ok"})
        answer = await super().handle(request)
        if fault is Fault.CUT_WITHIN:
            response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"id": "')
        return answer if fault is None else _cut(request)

    def refund(self, form: Form) -> str:
        """Refuse every refund while the account has a refusal."""
        if self.account.refusal is not None:
            raise StripeRefusalError(400, "This charge cannot be refunded now.", self.account.refusal)
        return super().refund(form)


def _error(code: str) -> dict[str, object]:
    return {"error": {"type": "api_error", "message": "an error of ours", "code": code}}


def _cut(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@asynccontextmanager
async def running_stripe_account(clock: Callable[[], datetime]) -> AsyncIterator[StripeAccount]:
    """Run an account beside the block."""
    account = StripeAccount(clock)
    app = web.Application()
    app.router.add_route("*", "/v1/{path:.*}", account.api.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        account.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield account
    finally:
        await runner.cleanup()
