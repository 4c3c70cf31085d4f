"""Bench figures against their bounds, and the picture of a purchase."""

import xml.etree.ElementTree as ET

import pytest

from bench.measurements import Figure, spread
from bench.picture import draw
from bench.purchases import BARE, TUTORIAL, Comparison, Turn, figures_of

SQLITE = Comparison(
    "sqlite",
    {
        "desk": [Turn(10.0, 50.0), Turn(12.0, 60.0), Turn(9.0, 70.0)],
        TUTORIAL: [Turn(8.0, 100.0), Turn(8.0, 100.0), Turn(9.0, 100.0)],
        BARE: [Turn(5.0, 200.0), Turn(4.0, 200.0), Turn(3.0, 200.0)],
    },
)


@pytest.mark.parametrize(
    ("figure", "mark"),
    [
        (Figure("a", "sqlite", 1.3, "x", floor=1.3), "ok"),
        (Figure("a", "sqlite", 1.31, "x", floor=1.3), "MISSED"),
        (Figure("a", "sqlite", 0.7, "x", least=0.7), "ok"),
        (Figure("a", "sqlite", 0.69, "x", least=0.7), "MISSED"),
        (Figure("a", "sqlite", 5.0, "s"), ""),
    ],
)
def test_figure_is_held_against_its_bound(figure: Figure, mark: str) -> None:
    assert figure.mark == mark


def test_ratio_compares_the_bots_of_one_turn_and_its_median_counts() -> None:
    shop, bare, pace = figures_of(SQLITE)
    assert (shop.value, shop.mark) == (1.25, "ok")
    assert (bare.value, bare.mark) == (3.0, "MISSED")
    assert (pace.value, pace.mark) == (0.6, "MISSED")
    assert shop.note == spread([1.25, 1.5, 1.0]) == "1.25 x (1.00 to 1.50)"


def test_picture_has_a_bar_for_each_bot() -> None:
    bars = ET.fromstring(draw([SQLITE])).findall("{http://www.w3.org/2000/svg}rect")[1:]  # noqa: S314 - our own
    assert [float(bar.attrib["width"]) for bar in bars] == [470.0, 376.0, 188.0]
