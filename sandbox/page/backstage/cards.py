"""Building blocks of the cards on Telegram's other side."""

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from nicegui import ui

from sandbox.page.elements import box, line
from sandbox.remote.transport import SandboxError
from sandbox.shapes import Json

ROWS_SHOWN = 100


@contextmanager
def card(title: str, classes: str = "") -> Iterator[ui.element]:
    """Add a card; return its head, for its present state, and stay in its body."""
    with box(f"card {classes}", "section") as made:
        made.props["aria-label"] = title
        with box("card-head") as head:
            line(title, "card-title")
        yield head


def list_of_newest() -> ui.element:
    """Add a list to a card that shows its last row on top."""
    return box("newest-first")


@contextmanager
def entry(classes: str = "") -> Iterator[ui.element]:
    """Add a card's row that opens on a click; return its visible part, and stay in the part that opens."""
    with box(f"entry {classes}", "details"):
        summary = box("entry-head", "summary")
        yield summary


def as_json(value: object) -> ui.label:
    """Show a JSON value on a card, as text."""
    return line(json.dumps(value, indent=1, ensure_ascii=False), "json")


def second(when: datetime) -> str:
    """Write the time of day for a card, UTC, with seconds; with the day before it when that is not today."""
    at = when.astimezone(UTC)
    is_today = at.date() == datetime.now(UTC).date()
    return f"{at:%H:%M:%S}" if is_today else f"{at.day} {at:%b %H:%M:%S}"


def object_in(value: Json, name: str) -> Json:
    """Return an object within an object, empty when there is none: tests push updates and rows of any shape."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def refusals_told(action: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
    """Wrap the action of a card's button so that it shows why the sandbox refuses it."""

    async def act() -> None:
        try:
            await action()
        except SandboxError as refusal:
            ui.notify(str(refusal), type="warning")

    return act
