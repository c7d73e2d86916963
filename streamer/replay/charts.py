"""Charts as inline SVG: lines and bars, colours from the page's style sheet, no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 860, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 16, 44
N_COLOURS = 10
"""Colours that the style sheet of the report has: ``.c0`` and so on."""


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
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    for tick in ticks:
        y = _y(tick, low, high)
        kind = "axis" if tick == 0 or tick == low else "grid"
        parts.append(
            f'<line class="{kind}" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(_text(_LEFT - 8, y + 4, f"{tick:,.{digits}f}", anchor="end"))
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text class="label" text-anchor="middle" transform="translate(14 {middle:.0f})'
        f' rotate(-90)">{escape(y_label)}</text>'
    )
    if x_label:
        parts.append(_text((_LEFT + WIDTH) / 2, HEIGHT - 6, x_label, anchor="middle"))
    return parts


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
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n{svg}\n</svg></figure>'
    )
