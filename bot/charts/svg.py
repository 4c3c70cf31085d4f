"""The chart of a report as SVG: a panel for each currency, a group of bars for each step.

Its background is light and opaque, so that a person can read it on a light page and on a dark one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from math import cos, pi, sin
from typing import Final

from markupsafe import escape

from bot.charts.scale import Scale
from bot.chat.money import in_major
from db.states import STARS_CURRENCY
from payments.audit.shown import cut
from payments.ledger.nanostars import NANOSTARS
from payments.reports.figures import Figures, Report, ReportData
from payments.reports.spans import Step

FONTS: Final = (
    "DejaVu Sans, Liberation Sans, Noto Sans, FreeSans, Arial, Helvetica, Ubuntu, Roboto, Verdana, sans-serif"
)
"""Fonts of servers and desktops; resvg knows no family by the last name alone."""
CURRENCY_LENGTH_MAX: Final = 8
PANELS_MAX: Final = 6
"""The number of currencies in one chart; it leaves out those with the fewest payments."""

_WIDTH: Final = 760
_HEAD: Final = 84
_PANEL: Final = 330
_LEFT: Final = 106
_RIGHT: Final = 28
_TOP: Final = 46
_PLOT_HEIGHT: Final = 236
_PLOT_WIDTH: Final = _WIDTH - _LEFT - _RIGHT
_DAYS_MAX: Final = 8
"""The number of dates below a panel."""
_BAR_MAX: Final = 46.0
_DOTTED_PIXELS: Final = 14
"""The least width of a step with a dot on its line."""

_GROUND, _INK, _FAINT, _GRID = "#fbfbf9", "#20242b", "#6a717c", "#dfe2e6"
_TAKEN, _RENEWED, _GIVEN_BACK, _NET = "#5b9bd5", "#1f5f99", "#d9653b", "#20242b"


@dataclass(frozen=True, slots=True)
class Labels:
    """The words in a chart."""

    revenue: str = "revenue"
    renewals: str = "of which renewals"
    given_back: str = "given back"
    net: str = "net"
    nothing: str = "Nothing was paid or given back."


def most_used_first(reading: ReportData) -> list[str]:
    """Return the currencies in the order of their panels: Stars, then the others by their number of charges."""

    def rank(currency: str) -> tuple[bool, int, str]:
        return currency != STARS_CURRENCY, -reading.figures(currency).charges, currency

    return sorted(reading.currencies, key=rank)


def draw(report: Report, step: Step, labels: Labels) -> str:
    """Draw the chart of a report as SVG."""
    panels = most_used_first(report.whole)[:PANELS_MAX]
    height = _HEAD + _PANEL * max(1, len(panels))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="{FONTS}">',
        f'<rect width="{_WIDTH}" height="{height}" fill="{_GROUND}"/>',
        *_head(report, labels),
    ]
    for number, currency in enumerate(panels):
        parts.append(f'<g transform="translate(0 {_HEAD + number * _PANEL})">')
        parts += _panel(report, currency, step)
        parts.append("</g>")
    if not panels:
        parts.append(_svg_text(_WIDTH / 2, _HEAD + _PANEL / 2, labels.nothing, anchor="middle", colour=_FAINT))
    return "\n".join([*parts, "</svg>", ""])


def _head(report: Report, labels: Labels) -> Iterator[str]:
    span = report.whole.span
    yield _svg_text(_LEFT, 36, f"{span.first} … {span.last}, UTC", size=20, weight="bold")
    keys = ((_TAKEN, labels.revenue), (_RENEWED, labels.renewals), (_GIVEN_BACK, labels.given_back), (_NET, labels.net))
    for number, (colour, label) in enumerate(keys):
        x = _LEFT + number * 178
        if colour == _NET:
            yield f'<path d="M{x} 62h16" stroke="{colour}" stroke-width="2.5"/><circle cx="{x + 8}" cy="62" r="4"/>'
        else:
            yield f'<rect x="{x}" y="55" width="14" height="14" rx="2" fill="{colour}"/>'
        yield _svg_text(x + 22, 67, label)


def _panel(report: Report, currency: str, step: Step) -> Iterator[str]:
    figures = [each.figures(currency) for each in report.steps]
    scale = Scale.around(
        [value for each in figures for value in (each.revenue, -each.given_back, _net_after_costs(each))], _PLOT_HEIGHT
    )
    yield from _title(currency, report.whole.figures(currency))
    for value in scale.lines:
        y = _TOP + scale.height(value)
        colour = _FAINT if value == 0 else _GRID
        yield f'<path d="M{_LEFT} {y:.1f}h{_PLOT_WIDTH}" stroke="{colour}"/>'
        yield _svg_text(_LEFT - 10, y + 5, f"{in_major(value, currency):,}", anchor="end", size=13, colour=_FAINT)
    slot = _PLOT_WIDTH / len(figures)
    for number, each in enumerate(figures):
        yield from _bars(each, scale, _LEFT + (number + 0.5) * slot, min(_BAR_MAX, slot * 0.7))
    yield from _net_line(figures, scale, slot)
    for number in range(0, len(figures), -(-len(figures) // _DAYS_MAX)):
        day = _date_label(report.steps[number].span.first, step)
        x = _LEFT + (number + 0.5) * slot
        yield _svg_text(x, _TOP + _PLOT_HEIGHT + 22, day, anchor="middle", size=13, colour=_FAINT)


def _title(currency: str, whole: Figures) -> Iterator[str]:
    x = _LEFT
    if currency == STARS_CURRENCY:
        # A path, because few servers have a font with a star.
        yield f'<path d="{_star_path(_LEFT + 9, 19, 10)}" fill="#e8a200"/>'
        x += 26
    yield _svg_text(x, 25, cut(currency, CURRENCY_LENGTH_MAX), size=18, weight="bold")
    taken, net = (f"{in_major(each, currency):,}" for each in (whole.revenue, _net_after_costs(whole)))
    less = [f"{in_major(whole.given_back, currency):,}"]
    if whole.has_costs:
        less.append(f"{in_major(whole.net - _net_after_costs(whole), currency):,}")
    yield _svg_text(_WIDTH - _RIGHT, 25, f"{' - '.join([taken, *less])} = {net}".replace("- -", "+ "), anchor="end")


def _net_after_costs(figures: Figures) -> int:
    """Return the net after costs, in whole minor units.

    The rest falls away because a chart cannot show a smaller part.
    """
    return round(figures.left_nanostars / NANOSTARS)


def _bars(figures: Figures, scale: Scale, middle: float, width: float) -> Iterator[str]:
    for value, colour in (
        (figures.revenue, _TAKEN),
        (figures.renewal_revenue, _RENEWED),
        (-figures.given_back, _GIVEN_BACK),
    ):
        if value:
            top, bottom = sorted((scale.height(value), scale.height(0)))
            yield (
                f'<rect x="{middle - width / 2:.1f}" y="{_TOP + top:.1f}" width="{width:.1f}"'
                f' height="{bottom - top:.1f}" fill="{colour}"/>'
            )


def _net_line(figures: list[Figures], scale: Scale, slot: float) -> Iterator[str]:
    points = [(_LEFT + (n + 0.5) * slot, _TOP + scale.height(_net_after_costs(each))) for n, each in enumerate(figures)]
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f'<polyline points="{joined}" fill="none" stroke="{_NET}" stroke-width="2" stroke-linejoin="round"/>'
    if slot >= _DOTTED_PIXELS:
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in points)


def _date_label(day: date, step: Step) -> str:
    return f"{day:%Y-%m}" if step is Step.MONTH else f"{day:%m-%d}"


def _star_path(x: float, y: float, size: float) -> str:
    """Return the SVG path of a star with five points."""
    radii = [size, size * 0.42] * 5
    corners = [(x + r * sin(pi * n / 5), y - r * cos(pi * n / 5)) for n, r in enumerate(radii)]
    return "M" + "L".join(f"{each_x:.1f} {each_y:.1f}" for each_x, each_y in corners) + "Z"


def _svg_text(
    x: float, y: float, words: str, *, anchor: str = "start", size: int = 15, weight: str = "normal", colour: str = _INK
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}"'
        f' fill="{colour}">{escape(words)}</text>'
    )
