"""The scale of a picture: which values have a line, and where a value stands."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

LINES_MAX: Final = 6
"""Lines above or below 0 that are wanted at most, beside 0 itself."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high`, 0 among them, over so many `pixels`, with a line every `gap`."""

    low: int
    high: int
    gap: int
    pixels: float

    @classmethod
    def around(cls, values: Iterable[int], pixels: float) -> Self:
        """Return one for these values: it ends at lines, and its lines are at 1, 2 or 5 times a power of ten."""
        least, most = min([0, *values]), max([1, *values])
        gap = _gap(most - least)
        return cls(least // gap * gap, -(-most // gap) * gap, gap, pixels)

    @property
    def lines(self) -> range:
        """The values that have a line, from the lowest."""
        return range(self.low, self.high + 1, self.gap)

    def height(self, value: int) -> float:
        """Return how many pixels a value stands below the highest one."""
        return (self.high - value) / (self.high - self.low) * self.pixels


def _gap(extent: int) -> int:
    power = 1
    while True:
        for times in (1, 2, 5):
            if extent <= times * power * LINES_MAX:
                return times * power
        power *= 10
