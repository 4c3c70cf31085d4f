"""The scale of a chart: the values with a grid line, and the height of a value."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

LINES_MAX: Final = 6
"""The largest number of grid lines, beside the one at 0."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A chart's scale: values from `low` to `high`, 0 among them, over so many `pixels`, with a line every `gap`."""

    low: int
    high: int
    gap: int
    pixels: float

    @classmethod
    def around(cls, values: Iterable[int], pixels: float) -> Self:
        """Return a scale around these values; both ends have a line, and the gap is 1, 2 or 5 times a power of ten."""
        least, most = min([0, *values]), max([1, *values])
        gap = _gap(most - least)
        return cls(least // gap * gap, -(-most // gap) * gap, gap, pixels)

    @property
    def lines(self) -> range:
        """The values that have a grid line, from the lowest."""
        return range(self.low, self.high + 1, self.gap)

    def height(self, value: int) -> float:
        """Return the distance of a value from the chart's top, in pixels."""
        return (self.high - value) / (self.high - self.low) * self.pixels


def _gap(extent: int) -> int:
    power = 1
    while True:
        for times in (1, 2, 5):
            if extent <= times * power * LINES_MAX:
                return times * power
        power *= 10
