"""Every order and repetition of a charge and its refunds, enumerated, ends in the same state."""

import contextlib
import re
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from sqlalchemy import select

from db.tables import Entitlement, EntitlementGrant, OutboxMessage, StripeEvent, User
from payments.audit import events, transitions
from payments.audit.facts import ChargeFact, Person
from payments.errors import RefundRefusedError
from payments.notices import Notice
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import SIGNER, STRANGER, charge, order, refund

pytestmark = pytest.mark.engines("sqlite", "postgresql")

DAYS = 30
ORDERS = ["".join(steps) for length in (1, 2, 3) for steps in product("cCRA", repeat=length)]
"""c: a charge is recorded; C: settled too; R: Telegram tells of a refund; A: an admin asks for it, Telegram does it."""
LONGER_ORDERS = ["".join(steps) for steps in product("CRA", repeat=4)]
LATE_ORDERS = [each for each in map("".join, product("cRAXS", repeat=3)) if "c" in each and set(each) & {"X", "S"}]
"""X: the days that were paid for go by; S: the desk starts again. More of them: test_pure_orders.py."""


async def _step(desk: Desk, step: str, charged: ChargeFact) -> None:
    desk.clock.advance(minutes=1)
    match step:
        case "c":
            await desk.record(charged)
        case "C":
            await desk.take(charged)
        case "R":
            await desk.take(refund(charged))
        case "X":
            desk.clock.advance(days=DAYS + 1)
        case "S":
            async with desk.database.transaction() as session:
                await transitions.release_claims(session)
            await _do_what_is_due(desk)
        case "A":
            with contextlib.suppress(RefundRefusedError):
                asked = await desk.request_refund(charged.charge_id)
                await desk.settle(asked.event_id, confirmed=True)


async def _do_what_is_due(desk: Desk) -> None:
    """Settle what is open, and let Telegram do every refund that is asked for, as the worker does."""
    while True:
        async with desk.database.reading() as session:
            due = await events.due(session, desk.clock(), 10, but=())
        if not due:
            return
        for event_id in due:
            await desk.settle(event_id, confirmed=True)


async def _state(desk: Desk, person: Person) -> dict[str, Any]:
    """Return what is on record of a person, but for the times that are ours, and for who asked and why."""
    async with desk.database.reading() as session:
        user_id = await session.scalar(select(User.id).where(User.telegram_id == person.telegram_id))
        of_user = await session.scalars(select(StripeEvent).where(StripeEvent.customer_id == user_id))
        grants = await session.scalars(select(EntitlementGrant).where(EntitlementGrant.user_id == user_id))
        access = await session.scalars(select(Entitlement).where(Entitlement.user_id == user_id))
        told = await session.scalars(select(OutboxMessage).where(OutboxMessage.chat_id == person.telegram_id))
        return {
            "events": {
                "charge" if event.refund_of is None else "refund": (
                    *(event.status, event.outcome, event.amount_cents, event.currency),
                    *(event.error, event.due_at, event.claimed_until, event.attempts),
                )
                for event in of_user
            },
            "grants": [
                (grant.source.partition(":")[0], grant.granted_at, grant.duration_days, grant.revoked_at is not None)
                for grant in grants
            ],
            "access": {each.entitlement_type: "revoked" if each.revoked_at else each.expires_at for each in access},
            "told of the refund": sum(message.kind == Notice.REFUNDED for message in told),
        }


def _expected(kind: str, *, is_charged: bool, is_refunded: bool) -> tuple[dict[str, tuple[int, str]], bool]:
    """Return status and outcome of the charge and of its refund, and whether the buyer has access."""
    refunded = {"refund": (1, "refunded")}
    if not is_charged:
        return (refunded if is_refunded else {}), False
    if kind == "granted":
        return {"charge": (1, "granted")} | (refunded if is_refunded else {}), not is_refunded
    if is_refunded or kind == "given back":
        return {"charge": (1, "refunded")} | refunded, False
    return {"charge": (2, kind)}, False


@pytest.mark.criterion("C3", "R1", "R4", "R8")
@pytest.mark.parametrize(
    ("kind", "changes", "orders"),
    [
        ("granted", {}, ORDERS + LONGER_ORDERS + LATE_ORDERS),
        ("parked", {"amount": 199}, ORDERS),
        ("foreign", {"payload": "another program's"}, ORDERS),
        ("given back", {"payload": SIGNER.sign(order("month", STRANGER))}, ORDERS),
    ],
    ids=["granted", "parked", "foreign", "given back"],
)
async def test_every_order_ends_in_the_same_state(
    desk: Desk, kind: str, changes: dict[str, Any], orders: list[str]
) -> None:
    reached: dict[tuple[bool, bool], dict[str, Any]] = {}
    for number, steps in enumerate(orders):
        person = Person(10_000 + number)
        charged = replace(charge(f"charge-{number}", payer=person), **changes)
        desk.clock.now = START
        for step in steps:
            await _step(desk, step, charged)
        await _do_what_is_due(desk)
        state = await _state(desk, person)
        is_charged = "c" in steps.lower()
        # An admin can ask for the refund of a charge that is known, and of no other.
        is_refunded = "R" in steps or re.search("c.*a", steps.lower()) is not None
        outcomes, is_open = _expected(kind, is_charged=is_charged, is_refunded=is_refunded)
        assert {which: event[:2] for which, event in state["events"].items()} == outcomes, steps
        is_held = bool(state["events"]) and await desk.holds(person=person)
        assert is_held is (is_open and "X" not in steps), steps
        assert state == reached.setdefault((is_charged, is_refunded), state), steps
    assert len(reached) == 4
