import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.charts.scale import LINES_MAX, Scale

_amounts = st.integers(-(2**40), 2**40)


@given(st.lists(_amounts, max_size=9))
def test_every_value_is_on_the_scale_and_so_is_0(values: list[int]) -> None:
    scale = Scale.around(values, 100)
    for value in (0, *values):
        assert 0 <= scale.height(value) <= 100
    assert (scale.height(scale.high), scale.height(scale.low)) == (0, 100)
    for lower, higher in itertools.pairwise(sorted(set(values))):
        assert scale.height(lower) > scale.height(higher)


@given(st.lists(_amounts, max_size=9))
def test_the_lines_are_few_and_round(values: list[int]) -> None:
    scale = Scale.around(values, 100)
    assert 0 in scale.lines
    assert 2 <= len(scale.lines) <= LINES_MAX + 2
    assert f"{scale.gap}".rstrip("0") in {"1", "2", "5"}


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ([], [0, 1]),
        ([7], [0, 2, 4, 6, 8]),
        ([1000, -120], [-200, 0, 200, 400, 600, 800, 1000]),
        ([-3], [-3, -2, -1, 0, 1]),
    ],
)
def test_lines_are_where_a_reader_expects_them(values: list[int], lines: list[int]) -> None:
    assert list(Scale.around(values, 100).lines) == lines
