"""What the cards of Telegram's other side are made of."""

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
    """Make a card; gives its head, where what is true now can be put, and stays in its body."""
    with box(f"card {classes}", "section") as made:
        made.props["aria-label"] = title
        with box("card-head") as head:
            line(title, "card-title")
        yield head


def list_of_newest() -> ui.element:
    """Make a list whose last row is shown on top."""
    return box("newest-first")


@contextmanager
def entry(classes: str = "") -> Iterator[ui.element]:
    """Make a row that opens on a click; gives its always visible part, and stays in what opens."""
    with box(f"entry {classes}", "details"):
        summary = box("entry-head", "summary")
        yield summary


def as_json(value: object) -> ui.label:
    """Show a JSON value for people, as text."""
    return line(json.dumps(value, indent=1, ensure_ascii=False), "json")


def second(when: datetime) -> str:
    """Write the time of day with seconds, UTC; the day before it when that is not today, as after a moved clock."""
    at = when.astimezone(UTC)
    is_today = at.date() == datetime.now(UTC).date()
    return f"{at:%H:%M:%S}" if is_today else f"{at.day} {at:%b %H:%M:%S}"


def object_in(value: Json, name: str) -> Json:
    """Give an object within an object, empty when there is none: tests push updates and rows of any shape."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def refusals_told(action: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
    """Make an action of a button that tells why the sandbox would not do it."""

    async def act() -> None:
        try:
            await action()
        except SandboxError as refusal:
            ui.notify(str(refusal), type="warning")

    return act
