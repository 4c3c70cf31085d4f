from datetime import date
from typing import Final
from xml.etree import ElementTree as ET

import pytest

from bot.charts.png import has_font, to_png
from bot.charts.svg import _GIVEN_BACK, _RENEWED, _TAKEN, PANELS_MAX, Labels, draw
from payments.reports.figures import Figures, Line, Report, ReportData, Source, total
from payments.reports.spans import Span, Step, divide

SPAN: Final = Span(date(2026, 1, 1), date(2026, 3, 31))
_SVG: Final = "{http://www.w3.org/2000/svg}"


def _report(*months: dict[str, Figures]) -> Report:
    """Return a report of some months, each with figures by currency."""
    spans = divide(SPAN, Step.MONTH)
    steps = tuple(_reading(span, month) for span, month in zip(spans, months, strict=False))
    currencies = {currency for month in months for currency in month}
    whole = {name: total(month.get(name, Figures()) for month in months) for name in currencies}
    return Report(steps, _reading(SPAN, whole))


def _reading(span: Span, figures: dict[str, Figures]) -> ReportData:
    return ReportData(span, tuple(Line(Source(name, "x", ""), each, 1) for name, each in figures.items()), {})


def _drawn(report: Report) -> ET.Element:
    return ET.fromstring(draw(report, Step.MONTH, Labels()))  # noqa: S314 - our own text


def _bars(picture: ET.Element, colour: str) -> list[tuple[float, float]]:
    """Return from where to where the bars of a colour reach; the first is the legend's."""
    bars = [each for each in picture.iter(f"{_SVG}rect") if each.get("fill") == colour][1:]
    return [(float(bar.attrib["y"]), float(bar.attrib["y"]) + float(bar.attrib["height"])) for bar in bars]


def _words(picture: ET.Element) -> list[str]:
    return [each.text or "" for each in picture.iter(f"{_SVG}text")]


@pytest.mark.criterion("N1")
def test_bars_are_as_long_as_their_amounts() -> None:
    first = Figures(revenue=1000, renewal_revenue=250, given_back=500)
    second = Figures(revenue=500, given_back=-250)
    picture = _drawn(_report({"XTR": first}, {}, {"XTR": second}))
    taken, renewed, given_back = (_bars(picture, colour) for colour in (_TAKEN, _RENEWED, _GIVEN_BACK))
    zero = taken[0][1]
    tall = zero - taken[0][0]
    assert [(zero - top) / tall for top, _ in taken] == pytest.approx([1, 0.5], abs=0.01)
    assert [(zero - top) / tall for top, _ in renewed] == pytest.approx([0.25], abs=0.01)
    # A refund's bar hangs below the line; a returned refund's bar is above it.
    assert [(top - zero, bottom - zero) for top, bottom in given_back] == [
        pytest.approx((0, tall / 2), abs=0.2),
        pytest.approx((-tall / 4, 0), abs=0.2),
    ]


@pytest.mark.criterion("N1")
@pytest.mark.criterion("N4")
def test_each_currency_has_a_panel_in_its_own_units() -> None:
    month = {"JPY": Figures(revenue=700), "USD": Figures(revenue=1999, given_back=499), "XTR": Figures(revenue=50)}
    words = _words(_drawn(_report(month)))
    assert [word for word in words if word in month] == ["XTR", "JPY", "USD"], "Stars first"
    assert {"19.99 - 4.99 = 15.00", "700 - 0 = 700", "50 - 0 = 50"} <= set(words)
    assert {"20.00", "800"} <= set(words)
    assert {"2026-01", "2026-01-01 … 2026-03-31, UTC", "revenue"} <= set(words)


@pytest.mark.criterion("S5")
def test_currency_of_another_service_is_escaped_in_the_picture() -> None:
    assert "<&>" in _words(_drawn(_report({"<&>": Figures(revenue=1)})))


def test_the_fewest_payments_are_left_out_of_a_picture_that_would_be_too_long() -> None:
    month = {f"A{letter}A": Figures(revenue=1, purchases=number) for number, letter in enumerate("ABCDEFGH")}
    shown = [word for word in _words(_drawn(_report(month))) if word in month]
    assert shown == [f"A{letter}A" for letter in "HGFEDCBA"][:PANELS_MAX]


def test_report_without_payments_is_drawn() -> None:
    report = _report({})
    assert "Nothing was paid or given back." in _words(_drawn(report))
    assert to_png(draw(report, Step.MONTH, Labels())).startswith(b"\x89PNG")


def test_a_picture_of_every_step_that_there_can_be_is_drawn() -> None:
    steps = divide(Span(date(2025, 1, 1), date(2026, 2, 4)), Step.DAY)
    assert len(steps) == 400
    readings = tuple(_reading(span, {"XTR": Figures(revenue=1, purchases=1)}) for span in steps)
    report = Report(readings, _reading(SPAN, {"XTR": Figures(revenue=400)}))
    picture = ET.fromstring(draw(report, Step.DAY, Labels()))  # noqa: S314 - our own text
    assert len(_bars(picture, _TAKEN)) == 400
    assert len([word for word in _words(picture) if word.count("-") == 1 and " " not in word]) <= 8


def test_a_machine_without_a_font_is_known() -> None:
    assert not has_font("No Such Font")


def test_the_line_and_the_sum_are_net_of_costs() -> None:
    month = {"XTR": Figures(revenue=100, given_back=10, commission_nanostars=5 * 10**9, costs_nanostars=15 * 10**9)}
    assert "100 - 10 - 20 = 70" in _words(_drawn(_report(month)))
