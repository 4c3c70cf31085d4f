"""The control API over HTTP: /control/<operation>, JSON in, JSON out.

Reads answer GET and POST; actions only POST with a JSON body, which a foreign web page in a browser cannot send
unasked. An operation's arguments are the keyword arguments of its method.
"""

import json
from collections.abc import Callable
from functools import cache
from inspect import Parameter, signature
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from sandbox.errors import ControlError
from sandbox.views import Views
from sandbox.wire import to_json
from sandbox.world import World

EVENTS_TIMEOUT_SECONDS_MAX = 60.0
Operation = Callable[..., Any]


class ControlApi:
    """The HTTP handlers of the control API, /control/..."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._reads = _reads(world)
        self._actions = _actions(world)

    def routes(self) -> list[web.RouteDef]:
        """Return the HTTP routes of the control API."""
        return [
            web.get("/control/events", self.events),
            web.get("/control/files/{file_id}", self.file),
            web.get("/control/{operation}", self.read),
            web.post("/control/{operation}", self.act),
        ]

    async def events(self, request: web.Request) -> web.Response:
        """Answer with the control API's events after number `after`; wait for one up to `timeout` real seconds."""
        try:
            after = int(request.query.get("after", self._world.feed.last))
            timeout_seconds = float(request.query.get("timeout", 0))
        except ValueError as refusal:
            return _answer({"error": str(refusal)}, 422)
        events = await self._world.feed.wait(after, min(timeout_seconds, EVENTS_TIMEOUT_SECONDS_MAX))
        return _answer({"last": self._world.feed.last, "events": events})

    async def file(self, request: web.Request) -> web.Response:
        """Answer with the bytes of a file that the bot has sent."""
        try:
            upload = self._world.files.find(request.match_info["file_id"]).upload
        except ControlError as refusal:
            return _answer({"error": str(refusal)}, 404)
        return web.Response(body=upload.content, content_type=upload.mime_type)

    async def read(self, request: web.Request) -> web.Response:
        """Answer a read of the control API with its arguments in the query."""
        return self._perform(self._reads.get(request.match_info["operation"]), dict(request.query))

    async def act(self, request: web.Request) -> web.Response:
        """Answer an action or a read of the control API with its arguments in a JSON object."""
        if request.content_type != "application/json":
            return _answer({"error": "Content-Type must be application/json"}, 415)
        try:
            arguments = json.loads(await request.read() or b"{}")
        except ValueError as refusal:
            return _answer({"error": str(refusal)}, 422)
        if not isinstance(arguments, dict):
            return _answer({"error": "the arguments must be a JSON object"}, 422)
        name = request.match_info["operation"]
        return self._perform(self._actions.get(name) or self._reads.get(name), arguments)

    def _perform(self, operation: Operation | None, arguments: dict[str, Any]) -> web.Response:
        if operation is None:
            return _answer({"error": "there is no such operation", "operations": [*self._reads, *self._actions]}, 404)
        self._world.clock.run_due()
        try:
            model = _arguments(operation.__func__)(**arguments)  # type: ignore[attr-defined]  # all are methods
            with self._world.clock.one_moment():
                result = operation(**{name: getattr(model, name) for name in type(model).model_fields})
            return _answer({"result": result})
        except ValidationError as refusal:
            return _answer({"error": str(refusal)}, 422)
        except ControlError as refusal:
            return _answer({"error": str(refusal)}, 409)


def _reads(world: World) -> dict[str, Operation]:
    views = Views(world)
    return {
        "about": views.about,
        "persons": views.persons,
        "person": views.person,
        "groups": views.groups,
        "chat": views.chat,
        "updates_waiting": views.updates_waiting,
        "updates_past": views.updates_past,
        "polling": views.polling,
        "ledger": views.ledger,
        "ledger_length": views.ledger_length,
        "balance": views.balance,
        "charges": views.charges,
        "card_charges": world.cards.listing,
        "stripe_charges": world.dashboard.charges,
        "payments": views.payments,
        "offer": views.offer,
        "payment": world.checkout.payment,
        "callback": world.callbacks.find,
        "subscriptions": world.subscriptions.listing,
        "commands": world.commands.seen_by,
        "calls": views.calls,
        "faults": views.faults,
        "switches": views.switches,
        "clock": world.read_clock,
    }


def _actions(world: World) -> dict[str, Operation]:
    return {
        "add_person": world.people.add_person,
        "add_group": world.people.add_group,
        "remove_bot": world.people.remove_bot,
        "set_balance": world.people.set_balance,
        "rename": world.people.rename,
        "set_reach": world.actions.set_reach,
        "send_text": world.actions.send_text,
        "press": world.actions.press,
        "press_stale": world.actions.press_stale,
        "start_payment": world.actions.start_payment,
        "forward_invoice": world.actions.forward_invoice,
        "refund_elsewhere": world.charges.refund_elsewhere,
        "stripe_give_back": world.dashboard.give_back,
        "stripe_fail_refund": world.dashboard.fail_refund,
        "stripe_open_dispute": world.dashboard.open_dispute,
        "stripe_close_dispute": world.dashboard.close_dispute,
        "add_past_payments": world.history.add_past_payments,
        "add_other": world.ledger.add_other,
        "end_withdrawal": world.ledger.end_withdrawal,
        "add_rows": world.ledger.add_rows,
        "add_copies": world.ledger.add_copies,
        "push_raw": world.queue.push_raw,
        "cancel_subscription": world.subscriptions.cancel,
        "take_up_again": world.subscriptions.take_up_again,
        "renew": world.subscriptions.renew,
        "fail_renewals": world.subscriptions.fail_renewals,
        "move_clock": world.move_clock,
        "replace_token": world.replace_token,
        "set_switches": world.set_switches,
        "add_fault": world.faults.add,
        "remove_fault": world.faults.remove,
        "lose_updates": world.faults.lose_updates,
        "double_updates": world.faults.double_updates,
        "spare_updates": world.faults.spare_updates,
        "set_away": world.faults.set_away,
        "release_holds": world.faults.release_holds,
        "clear_faults": world.faults.clear,
    }


@cache  # one model for each operation above, shared by all sandboxes
def _arguments(function: Operation) -> type[BaseModel]:
    fields: dict[str, Any] = {
        name: (parameter.annotation, ... if parameter.default is Parameter.empty else parameter.default)
        for name, parameter in signature(function).parameters.items()
        if name != "self"
    }
    return create_model(function.__name__, __config__=ConfigDict(extra="forbid"), **fields)


def _answer(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(text=to_json(body), status=status, content_type="application/json")
