"""A chart as PNG, made from SVG by resvg, which is loaded for the first chart and never at a start."""

from functools import cache
from typing import Final

from bot.charts.svg import FONTS

_PROBE: Final = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20" font-family="{}">{}</svg>'


def to_png(svg: str) -> bytes:
    """Convert a chart from SVG (bot/charts/svg.py) to PNG at twice its size, which telephones show sharp.

    It takes tens of milliseconds: never in the event loop.
    """
    import resvg_py  # noqa: PLC0415 - loaded when it is wanted

    return resvg_py.svg_to_bytes(svg_string=svg, zoom=2)


@cache
def has_font(fonts: str = FONTS) -> bool:
    """Tell whether this machine has a font for PNG charts: without one resvg leaves the words out, in silence."""
    return to_png(_PROBE.format(fonts, '<text y="15">0</text>')) != to_png(_PROBE.format(fonts, ""))
