"""The picture of the bench: the processor time of a purchase as bars, a group for each engine, as SVG."""

from collections.abc import Iterator, Sequence
from typing import Final

from markupsafe import escape

from bench.purchases import Comparison
from bot.charts.svg import FONTS

_WIDTH: Final = 760
_LEFT: Final = 150
_BARS: Final = 470
_BAR: Final = 26
_GAP: Final = 8
_HEAD: Final = 60
_GROUP_HEAD: Final = 34
_GROUND, _INK, _FAINT = "#fbfbf9", "#20242b", "#6a717c"
_COLOURS: Final = ("#1f5f99", "#d9653b", "#9aa3ad")


def draw(comparisons: Sequence[Comparison]) -> str:
    """Draw the processor time of a purchase of each bot on each engine."""
    most = max(each.cpu_ms(name) for each in comparisons for name in each.turns)
    height = _HEAD + sum(_GROUP_HEAD + len(each.turns) * (_BAR + _GAP) for each in comparisons) + 2 * _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="{FONTS}">',
        f'<rect width="{_WIDTH}" height="{height}" fill="{_GROUND}"/>',
        _words(20, 36, "Processor time of a whole purchase, in milliseconds", size=20, weight="bold"),
    ]
    y = float(_HEAD)
    for each in comparisons:
        parts.append(_words(20, y + 22, each.engine, weight="bold"))
        y += _GROUP_HEAD
        for name, colour in zip(each.turns, _COLOURS, strict=False):
            parts += _bar(y, name, each.cpu_ms(name), most, colour)
            y += _BAR + _GAP
    return "\n".join([*parts, "</svg>", ""])


def _bar(y: float, name: str, cpu_ms: float, most: float, colour: str) -> Iterator[str]:
    width = cpu_ms / most * _BARS
    yield _words(_LEFT - 10, y + 18, name, anchor="end", colour=_FAINT)
    yield f'<rect x="{_LEFT}" y="{y:.0f}" width="{width:.1f}" height="{_BAR}" rx="2" fill="{colour}"/>'
    yield _words(_LEFT + width + 8, y + 18, f"{cpu_ms:.1f}")


def _words(
    x: float, y: float, words: str, *, anchor: str = "start", size: int = 15, weight: str = "normal", colour: str = _INK
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}"'
        f' fill="{colour}">{escape(words)}</text>'
    )
