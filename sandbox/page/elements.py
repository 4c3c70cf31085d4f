"""Elements of the page: boxes, lines, buttons, amounts. They show text as text, because none of them takes markup."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from babel.numbers import format_currency, get_currency_precision
from nicegui import ui

from sandbox.invoices import STARS

_COPY = "(event) => navigator.clipboard.writeText(event.currentTarget.innerText).then(() => emit())"


def box(classes: str, tag: str = "div") -> ui.element:
    """Add an element to the page with classes of style.css."""
    return ui.element(tag).classes(classes)


def line(text: str, classes: str = "") -> ui.label:
    """Add a line of text to the page."""
    return ui.label(text).classes(classes)


def button(text: str, on_click: Callable[..., Any], classes: str = "button") -> ui.element:
    """Add a button with a text to the page."""
    with box(classes, "button").props("type=button").on("click", on_click, args=[]) as made:
        ui.label(text)
    return made


def icon_button(icon: str, told: str, on_click: Callable[..., Any], classes: str = "") -> ui.element:
    """Add a round button with an icon to the page; `told` is its tooltip and its name for screen readers."""
    made = box(f"icon-button {classes}", "button").on("click", on_click, args=[])
    made.props["type"], made.props["aria-label"], made.props["title"] = "button", told, told
    with made:
        ui.icon(icon)
    return made


def stars(amount: int, classes: str = "") -> ui.element:
    """Show an amount of Stars on the page."""
    with box(f"stars {classes}", "span") as made:
        ui.icon("star")
        ui.label(f"{amount:,}")
    return made


def money(amount: int, currency: str) -> str:
    """Write an amount in a currency's minor unit as the page shows it: $4.99."""
    return format_currency(major_units(amount, currency), currency, locale="en_US")


def major_units(amount: int, currency: str) -> Decimal:
    """Convert an amount to its currency's major unit: 499 cents are 4.99 dollars."""
    return Decimal(amount).scaleb(-get_currency_precision(currency))


def minor_units(amount: float, currency: str) -> int:
    """Convert a typed amount to its currency's minor unit, rounded: 4.99 dollars are 499 cents."""
    return round(Decimal(str(amount)).scaleb(get_currency_precision(currency)))


def price(amount: int, currency: str) -> ui.element:
    """Show an amount of Stars, or of money, on the page."""
    return stars(amount) if currency == STARS else line(money(amount, currency))


def copies_on_click(element: ui.element, on_copied: Callable[[], None]) -> None:
    """Copy an element's text to the clipboard on a click."""
    element.classes("copies").on("click", on_copied, args=[], js_handler=_COPY)
    element.props["title"] = "Click to copy"


def moment(unix_seconds: int) -> datetime:
    """Convert Telegram's date to an aware time, UTC."""
    return datetime.fromtimestamp(unix_seconds, UTC)


def clock_time(when: datetime) -> str:
    """Write the time of day for the page, UTC."""
    return f"{when:%H:%M}"


def day(when: datetime) -> str:
    """Write the day for the page."""
    return f"{when.day} {when:%B %Y}"
