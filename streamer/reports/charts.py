"""Charts as inline SVG: lines, bars and intervals, coloured by the style sheet, no script."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 860, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 16, 44
N_COLOURS = 10
"""Colours that the style sheet of the report has: ``.c0`` and so on."""
_MARGIN = 3.0
"""Of a chart of intervals: share of the width at each side, in %."""
_TICK_CHARACTERS = 34
"""Of all ticks of a chart of intervals, at most: as many as fit a telephone."""


@dataclass(frozen=True, slots=True)
class ChartSeries:
    """One line, or one bar of each group; None is a gap.

    Attributes
    ----------
    errors
        Of the values, drawn as whiskers; empty: none.
    """

    name: str
    values: Sequence[float | None]
    errors: Sequence[float | None] = ()


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """One value with its interval; NaN or None is not drawn."""

    name: str
    value: float | None
    low: float | None
    high: float | None

    @property
    def text(self) -> str:
        """The value and its interval in numbers.

        >>> IntervalRow("ips", 0.004553, 0.00312, 0.0061).text
        '0.004553 (0.00312 to 0.0061)'
        """
        if _finite(self.value) is None:
            return "–"
        if _finite(self.low) is None or _finite(self.high) is None:
            return f"{self.value:.4g}"
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


def interval_chart(
    rows: Sequence[IntervalRow], *, title: str, reference: IntervalRow | None = None
) -> str:
    """Values on one axis, each a row with its name, its numbers and its interval as a bar.

    It is as wide as its page, and its text as large as that of the page.

    Parameters
    ----------
    reference
        Drawn behind all rows: its value as a line, its interval as a band.
    """
    all_rows = [*rows, *([reference] if reference else [])]
    values = [number for row in all_rows for number in (row.value, row.low, row.high)]
    low, high, ticks = _scale(values, from_zero=False)

    def x(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return _MARGIN + (100 - 2 * _MARGIN) * share

    behind = [_upright("grid", x(tick)) for tick in ticks]
    legend = ""
    if reference is not None:
        behind += _reference(reference, x)
        said = f'<i class="c1"></i>{escape(reference.name)} {reference.text}'
        legend = f'<div class="legend"><span class="key">{said}</span></div>'
    drawn = "\n".join(_interval(row, x) for row in rows)
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>{legend}\n"
        f'<div class="intervals"><svg class="behind" aria-hidden="true">{"".join(behind)}</svg>\n'
        f"{drawn}</div>\n{_percent_axis(ticks, x)}</figure>"
    )


def _interval(row: IntervalRow, x: Callable[[float], float]) -> str:
    parts = []
    value, low, high = (_finite(each) for each in (row.value, row.low, row.high))
    if low is not None and high is not None:
        parts.append(f'<line class="range" x1="{x(low):.2f}%" x2="{x(high):.2f}%" y1="8" y2="8"/>')
    if value is not None:
        parts.append(f'<circle class="dot c0" cx="{x(value):.2f}%" cy="8" r="5"/>')
    return (
        f'<div class="row"><span>{escape(row.name)}</span><span>{row.text}</span></div>'
        f'<svg height="16" aria-hidden="true">{"".join(parts)}</svg>'
    )


def _reference(row: IntervalRow, x: Callable[[float], float]) -> list[str]:
    value, low, high = (_finite(each) for each in (row.value, row.low, row.high))
    parts = []
    if low is not None and high is not None:
        parts.append(
            f'<rect class="band" x="{x(low):.2f}%" y="0" width="{x(high) - x(low):.2f}%"'
            ' height="100%"/>'
        )
    if value is not None:
        parts.append(_upright("reference", x(value)))
    return parts


def _upright(kind: str, x: float) -> str:
    return f'<line class="{kind}" x1="{x:.2f}%" x2="{x:.2f}%" y1="0" y2="100%"/>'


def _percent_axis(ticks: Sequence[float], x: Callable[[float], float]) -> str:
    texts = _tick_texts(ticks)
    step, last = max(1, math.ceil(sum(map(len, texts)) / _TICK_CHARACTERS)), len(ticks) - 1
    parts = []
    for place in range(0, len(ticks), step):
        anchor, at = "middle", x(ticks[place])
        if place in (0, last):
            anchor, at = ("start", 0.0) if place == 0 else ("end", 100.0)
        parts.append(f'<text x="{at:.2f}%" y="16" text-anchor="{anchor}">{texts[place]}</text>')
    return f'<svg height="20" aria-hidden="true">{"".join(parts)}</svg>'


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def line_chart(
    labels: Sequence[str],
    series: Sequence[ChartSeries],
    *,
    title: str,
    y_label: str,
    x_label: str = "",
) -> str:
    """Values over the places of an axis, one line each.

    Parameters
    ----------
    labels
        Of the places, as many as each line has values; as many are shown as fit.
    title
        Read out in place of the picture.
    """
    low, high, ticks = _scale([value for each in series for value in each.values], from_zero=False)
    n = len(labels)

    def x(place: int) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (place / (n - 1) if n > 1 else 0.5)

    parts = [*_frame(title, ticks, low, high, y_label, x_label)]
    step = max(1, math.ceil(n / 8))
    for place in range(0, n, step):
        anchor = (
            "start" if place == 0 and n > 1 else "end" if place == n - 1 and n > 1 else "middle"
        )
        parts.append(_text(x(place), HEIGHT - _BOTTOM + 18, labels[place], anchor=anchor))
    for at, each in enumerate(series):
        colour = at % N_COLOURS
        drawn = [
            (x(place), _y(value, low, high), value, labels[place])
            for place, value in enumerate(each.values)
            if value is not None
        ]
        points = " ".join(f"{px:.1f},{py:.1f}" for px, py, _, _ in drawn)
        parts.append(f'<polyline class="line c{colour}" points="{points}"/>')
        parts += [
            f'<circle class="dot c{colour}" cx="{px:.1f}" cy="{py:.1f}" r="3.5">'
            f"<title>{escape(f'{each.name}, {label}: {value:.4f}')}</title></circle>"
            for px, py, value, label in drawn
        ]
    return _chart(parts, title, [each.name for each in series])


def bar_chart(
    groups: Sequence[str], series: Sequence[ChartSeries], *, title: str, y_label: str
) -> str:
    """Bars side by side, a group for each place of the axis.

    Parameters
    ----------
    groups
        Their names, as many as each series has values.
    """
    low, high, ticks = _scale([value for each in series for value in each.values], from_zero=True)
    parts = [*_frame(title, ticks, low, high, y_label, "")]
    span = (WIDTH - _LEFT - _RIGHT) / max(1, len(groups))
    width = span * 0.8 / max(1, len(series))
    for place, group in enumerate(groups):
        left = _LEFT + span * (place + 0.1)
        parts.append(_text(left + span * 0.4, HEIGHT - _BOTTOM + 18, group, anchor="middle"))
        for at, each in enumerate(series):
            value = each.values[place]
            if value is None:
                continue
            top, bottom = _y(max(value, 0), low, high), _y(min(value, 0), low, high)
            middle = left + width * (at + 0.5)
            parts.append(
                f'<rect class="bar c{at % N_COLOURS}" x="{left + width * at:.1f}" y="{top:.1f}"'
                f' width="{max(1.0, width - 2):.1f}" height="{max(0.5, bottom - top):.1f}">'
                f"<title>{escape(f'{each.name}, {group}: {value:.4f}')}</title></rect>"
            )
            error = each.errors[place] if each.errors else None
            if error is not None:
                upper, lower = _y(value + error, low, high), _y(value - error, low, high)
                parts.append(
                    f'<line class="whisker" x1="{middle:.1f}" x2="{middle:.1f}"'
                    f' y1="{upper:.1f}" y2="{lower:.1f}"/>'
                )
    return _chart(parts, title, [each.name for each in series])


def _scale(values: Sequence[float | None], *, from_zero: bool) -> tuple[float, float, list[float]]:
    """Bounds of the axis and its ticks, at round numbers."""
    known = [value for value in values if value is not None and math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    # A curve that falls by half of its height may start at zero; one that hardly moves must not.
    if from_zero or 0 <= low < (high - low):
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [number * step for number in range(first, last + 1)]
    return ticks[0], ticks[-1], ticks


def _y(value: float, low: float, high: float) -> float:
    share = (min(max(value, low), high) - low) / (high - low)
    return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * share


def _frame(
    title: str, ticks: Sequence[float], low: float, high: float, y_label: str, x_label: str
) -> list[str]:
    parts = [f"<title>{escape(title)}</title>"]
    for tick, text in zip(ticks, _tick_texts(ticks), strict=True):
        y = _y(tick, low, high)
        kind = "axis" if tick == 0 or tick == low else "grid"
        parts.append(
            f'<line class="{kind}" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(_text(_LEFT - 8, y + 4, text, anchor="end"))
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text class="label" text-anchor="middle" transform="translate(14 {middle:.0f})'
        f' rotate(-90)">{escape(y_label)}</text>'
    )
    if x_label:
        parts.append(_text((_LEFT + WIDTH) / 2, HEIGHT - 6, x_label, anchor="middle"))
    return parts


def _tick_texts(ticks: Sequence[float]) -> list[str]:
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return [f"{tick:,.{digits}f}" for tick in ticks]


def _text(x: float, y: float, text: str, *, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _chart(parts: Sequence[str], title: str, names: Sequence[str]) -> str:
    legend = "".join(
        f'<span class="key"><i class="c{at % N_COLOURS}"></i>{escape(name)}</span>'
        for at, name in enumerate(names)
    )
    svg = "\n".join(parts)
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><div class="legend">{legend}</div>\n'
        f'<div class="scroll"><svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n{svg}\n'
        "</svg></div></figure>"
    )
