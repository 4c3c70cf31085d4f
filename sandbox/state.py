"""The state of a sandbox in a file: the server reads it at the start, and writes it after changes and at the end.

The file has everything that Telegram would still have after a night: people, chats, Stars, offers, subscriptions,
files, commands, and the updates that wait; and the account at Stripe. It leaves out the log of calls, updates of the
past, pressed buttons, faults, and the answers under Stripe's idempotency keys. A payment that waits for the bot's
answer has timed out at the next start.
"""

import asyncio
import json
import sys
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sandbox.args import Upload
from sandbox.cards import CardCharge
from sandbox.charges import Charge
from sandbox.checkout import Payment
from sandbox.commands import Scope
from sandbox.files import StoredFile
from sandbox.invoices import Offer
from sandbox.messages import ChatMessage
from sandbox.people import Group, Person
from sandbox.settings import TOKEN, Switches
from sandbox.shapes import Json
from sandbox.subscriptions import Subscription
from sandbox.updates import UpdateRecord
from sandbox.wire import to_json
from sandbox.world import World

FORMAT = 2
IDLE_SECONDS = 3_600.0
PAUSE_SECONDS = 1.0
"""The shortest time between two writes: a kill of the sandbox itself can lose that much."""


class StateError(Exception):
    """The error of an unusable state file, or of another bot's, in one line."""


@dataclass(frozen=True, slots=True)
class _File:
    file_id: str
    name: str
    mime_type: str
    base64: str


@dataclass(frozen=True, slots=True)
class _State:
    format: int
    token: str
    clock_offset_seconds: float
    random: tuple[int, tuple[int, ...], None]
    persons: list[Person]
    groups: list[Group]
    messages: list[ChatMessage]
    ledger: list[Json]
    offers: list[Offer]
    charges: list[Charge]
    card_charges: list[CardCharge]
    stripe_objects: list[Json]
    stripe_events: list[Json]
    subscriptions: list[Subscription]
    payments: list[Payment]
    files: list[_File]
    commands: list[tuple[Scope, str, list[Json]]]
    allowed_updates: list[str]
    updates: list[UpdateRecord]
    next_update_id: int
    last_update_at: datetime
    switches: Switches


_STATE = TypeAdapter(_State)


def read_state(path: Path, world: World) -> None:
    """Fill a new world from a state file; a missing file leaves it empty. Raises StateError."""
    try:
        state = _STATE.validate_python(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return
    except OSError as failure:
        raise StateError(f"{path} cannot be read: {failure.strerror}") from failure
    except (ValueError, ValidationError) as failure:
        raise StateError(f"{path} is no state of a sandbox, or of another version of it") from failure
    if state.format != FORMAT:
        raise StateError(f"{path} is of another version of the sandbox")
    _adopt_token(path, state.token, world)
    _restore(state, world)


async def keep_state(path: Path, world: World) -> None:
    """Write the state file after each change, once a second at most, until cancelled."""
    seen = -1
    while True:
        await world.feed.wait(seen, IDLE_SECONDS)
        seen = world.feed.last
        try:
            write_state(path, world)
        except StateError as failure:
            sys.stderr.write(f"{failure}\n")
        await asyncio.sleep(PAUSE_SECONDS)


def write_state(path: Path, world: World) -> None:
    """Write the state file as a whole, so that a reader finds the old state or the new one. Raises StateError."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_text(to_json(_state_of(world)))
        beside.replace(path)
    except OSError as failure:
        raise StateError(f"{path} cannot be written: {failure.strerror}") from failure


def _state_of(world: World) -> _State:
    return _State(
        format=FORMAT,
        token=world.token,
        clock_offset_seconds=world.clock.offset.total_seconds(),
        random=_plain_random(world.random.getstate()),
        persons=list(world.people.persons.values()),
        groups=list(world.people.groups.values()),
        messages=[found for chat in world.messages.chats.values() for found in chat.values()],
        ledger=world.ledger.rows,
        offers=list(world.offers.by_id.values()),
        charges=list(world.charges.by_id.values()),
        card_charges=world.cards.charges,
        stripe_objects=list(world.stripe.objects.values()),
        stripe_events=world.stripe.events,
        subscriptions=world.subscriptions.listing(),
        payments=list(world.checkout.payments.values()),
        files=[_kept_file(found) for found in world.files.by_id.values()],
        commands=[(scope, language, commands) for (scope, language), commands in world.commands.lists.items()],
        allowed_updates=sorted(world.queue.allowed),
        updates=world.queue.waiting(),
        next_update_id=world.queue.next_id,
        last_update_at=world.queue.last_push,
        switches=world.settings.switches,
    )


def _restore(state: _State, world: World) -> None:
    world.clock.offset = timedelta(seconds=state.clock_offset_seconds)
    world.random.setstate(state.random)
    world.people.persons.update({person.id: person for person in state.persons})
    world.people.groups.update({group.id: group for group in state.groups})
    world.messages.restore(state.messages)
    world.ledger.add_rows(rows=state.ledger)
    world.offers.by_id.update({offer.id: offer for offer in state.offers})
    world.charges.by_id.update({charge.id: charge for charge in state.charges})
    world.cards.charges.extend(state.card_charges)
    world.stripe.objects.update({found["id"]: found for found in state.stripe_objects})
    world.stripe.events.extend(state.stripe_events)
    world.subscriptions.restore(state.subscriptions)
    world.checkout.restore(state.payments)
    world.files.by_id.update({kept.file_id: _stored_file(kept) for kept in state.files})
    world.commands.lists.update({(scope, language): commands for scope, language, commands in state.commands})
    world.queue.restore(state.updates, state.next_update_id, state.last_update_at)
    world.queue.allowed = frozenset(state.allowed_updates)
    world.set_switches(
        refuse_refund_below_balance=state.switches.refuse_refund_below_balance,
        announce_bot_cancel=state.switches.announce_bot_cancel,
        price_stars_max=state.switches.price_stars_max,
        server_before_9=state.switches.server_before_9,
        affiliate_per_mille=state.switches.affiliate_per_mille,
        affiliate_amounts_net=state.switches.affiliate_amounts_net,
    )


def _adopt_token(path: Path, token: str, world: World) -> None:
    """Use the token of the state file, unless the settings name another one of the same bot."""
    bot_id = int(token.partition(":")[0])
    if world.token == TOKEN:
        world.token = token
        world.bot["id"] = bot_id
    elif bot_id != world.bot["id"]:
        raise StateError(f"{path} belongs to the bot {bot_id}: its token begins with {bot_id}:")


def _plain_random(state: tuple[Any, ...]) -> tuple[int, tuple[int, ...], None]:
    version, numbers, _ = state
    return version, numbers, None  # the third is of random.gauss, which nobody calls


def _kept_file(found: StoredFile) -> _File:
    upload = found.upload
    return _File(found.file_id, upload.name, upload.mime_type, b64encode(upload.content).decode())


def _stored_file(kept: _File) -> StoredFile:
    return StoredFile(kept.file_id, Upload(kept.name, kept.mime_type, b64decode(kept.base64)))
