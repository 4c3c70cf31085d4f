"""A chart as PNG, made from SVG by resvg; the first chart imports it, and no start does."""

from functools import cache
from typing import Final

from bot.charts.svg import FONTS

_PROBE: Final = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20" font-family="{}">{}</svg>'


def to_png(svg: str) -> bytes:
    """Convert a chart from SVG (bot/charts/svg.py) to PNG at twice its size, which telephones show sharp.

    It takes tens of milliseconds, so the caller runs it outside of the event loop.
    """
    import resvg_py  # noqa: PLC0415 - loaded when it is wanted

    return resvg_py.svg_to_bytes(svg_string=svg, zoom=2)


@cache
def has_font(fonts: str = FONTS) -> bool:
    """Tell whether this machine has a font for PNG charts.

    A caller has to say so if it has none, because resvg then leaves the words out in silence.
    """
    return to_png(_PROBE.format(fonts, '<text y="15">0</text>')) != to_png(_PROBE.format(fonts, ""))
