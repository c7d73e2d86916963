"""Charts put every value where its axis says."""

from __future__ import annotations

import re

import pytest

from streamer.reports.charts import ChartSeries, IntervalRow, bar_chart, interval_chart, line_chart

NUMBER = r"(-?[\d.]+)"


def ticks(svg: str) -> list[tuple[float, float]]:
    """Value and height of each tick of the y axis."""
    heights = re.findall(rf'<line class="(?:grid|axis)" x1="64" x2="844" y1="{NUMBER}"', svg)
    values = re.findall(rf'text-anchor="end">{NUMBER}</text>', svg.replace(",", ""))
    return [(float(v), float(y)) for v, y in zip(values, heights, strict=False)]


def value_at(svg: str, y: float) -> float:
    """What the axis says at a height."""
    (low, y_low), *_, (high, y_high) = ticks(svg)
    return low + (high - low) * (y_low - y) / (y_low - y_high)


@pytest.mark.parametrize(
    "values", [[0.071, 0.088, 0.12], [0.9, 0.91, 0.905], [-3.0, 4.0, 0.0], [1e6, 2e6, 5e6]]
)
def test_a_line_is_where_its_values_are(values: list[float]) -> None:
    svg = line_chart(["a", "b", "c"], [ChartSeries("model", values)], title="t", y_label="y")
    dots = [float(y) for y in re.findall(rf'cy="{NUMBER}" r=', svg)]
    span = max(values) - min(values)
    assert [value_at(svg, y) for y in dots] == pytest.approx(values, abs=span / 100)
    (low, _), *_, (high, _) = ticks(svg)
    assert low <= min(values)
    assert max(values) <= high


def test_bars_begin_at_zero_and_end_at_their_values() -> None:
    series = [ChartSeries("a", [0.2, None]), ChartSeries("b", [0.1, 0.4], errors=[0.05, None])]
    svg = bar_chart(["cold", "warm"], series, title="t", y_label="y")
    bars = re.findall(rf'y="{NUMBER}" width="{NUMBER}" height="{NUMBER}"', svg)
    assert len(bars) == 3
    for (top, _, height), value in zip(bars, [0.2, 0.1, 0.4], strict=True):
        assert value_at(svg, float(top)) == pytest.approx(value, abs=0.005)
        assert value_at(svg, float(top) + float(height)) == pytest.approx(0, abs=0.005)
    ((upper, lower),) = re.findall(rf'class="whisker".* y1="{NUMBER}" y2="{NUMBER}"', svg)
    ends = [value_at(svg, float(y)) for y in (upper, lower)]
    assert ends == pytest.approx([0.15, 0.05], abs=0.005)


def test_a_gap_has_no_dot_and_nothing_at_all_is_no_error() -> None:
    svg = line_chart(["a", "b"], [ChartSeries("m", [None, 0.3])], title="t", y_label="y")
    assert svg.count("<circle") == 1
    empty = line_chart([], [ChartSeries("m", [])], title="t", y_label="y")
    assert "<svg" in empty
    assert "nan" not in empty


def test_names_are_text_whatever_they_hold() -> None:
    svg = line_chart(["<b>"], [ChartSeries('"<script>', [1.0])], title="a & b", y_label="<y>")
    assert "<script>" not in svg
    assert "<b>" not in svg
    assert "a &amp; b" in svg


def test_intervals_and_the_reference_are_where_the_axis_says() -> None:
    rows = [IntervalRow("a", 0.2, 0.1, 0.4), IntervalRow("b", 0.3, None, None)]
    logged = IntervalRow("the log", 0.25, 0.15, 0.35)
    html = interval_chart(rows, title="t", reference=logged)
    low, high = 3.0, 97.0  # the axis from its first tick to its last, in % of the width
    axis = [float(each) for each in re.findall(rf'<text x="[^"]*"[^>]*>{NUMBER}</text>', html)]

    def value_of(percent: str) -> float:
        return axis[0] + (axis[-1] - axis[0]) * (float(percent) - low) / (high - low)

    ((left, right),) = re.findall(rf'class="range" x1="{NUMBER}%" x2="{NUMBER}%"', html)
    assert [value_of(left), value_of(right)] == pytest.approx([0.1, 0.4], abs=0.001)
    dots = re.findall(rf'cx="{NUMBER}%"', html)
    assert [value_of(each) for each in dots] == pytest.approx([0.2, 0.3], abs=0.001)
    ((left, width),) = re.findall(rf'class="band" x="{NUMBER}%" y="0" width="{NUMBER}%"', html)
    right = str(float(left) + float(width))
    assert [value_of(left), value_of(right)] == pytest.approx([0.15, 0.35], abs=0.001)
    (at,) = re.findall(rf'class="reference" x1="{NUMBER}%"', html)
    assert value_of(at) == pytest.approx(0.25, abs=0.001)
    for said in ("0.2 (0.1 to 0.4)", "<span>0.3</span>", "the log 0.25 (0.15 to 0.35)"):
        assert said in html


def test_an_interval_that_is_not_known_is_said_and_not_drawn() -> None:
    nan = float("nan")
    html = interval_chart([IntervalRow("<none>", nan, nan, nan)], title="t")
    assert "<circle" not in html
    assert "nan" not in html
    assert "&lt;none&gt;" in html
    assert "<span>–</span>" in html
