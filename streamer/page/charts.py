"""Charts of the page: quiet lines and bars that read on light and on dark alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from nicegui import ui

from streamer.reports.palette import ACCENT

_GREY: Final = "#808a87"
_LINE: Final = "rgba(128,138,135,0.25)"
COLOURS: Final = (ACCENT, "#c98a2b", "#5b7bc0", "#b3567a")


class LineChart:
    """Lines of the last looks, the newest on the right.

    Parameters
    ----------
    names
        Of the lines.
    n
        Points of each.
    """

    def __init__(self, title: str, names: Sequence[str], n: int) -> None:
        self._series: list[dict[str, Any]] = [
            {
                "type": "line",
                "name": name,
                "data": [None] * n,
                "showSymbol": False,
                "lineStyle": {"width": 1.5},
                "connectNulls": False,
            }
            for name in names
        ]
        ago = [f"{left // 60}:{left % 60:02} ago" for left in range(n, 0, -1)]
        with ui.element("figure").classes("card").style("margin: 0"):
            with ui.element("figcaption").classes("name"):
                ui.label(title)
            self._chart = ui.echart(
                {
                    **_plain(legend=len(names) > 1),
                    "xAxis": {
                        "type": "category",
                        "data": ago,
                        "axisLabel": {"color": _GREY, "interval": 59, "hideOverlap": True},
                        "axisLine": {"lineStyle": {"color": _LINE}},
                        "axisTick": {"show": False},
                    },
                    "yAxis": _value_axis(),
                    "series": self._series,
                }
            ).props(f'role="img" aria-label="{title}"')

    def show(self, lines: Sequence[Sequence[float | None]]) -> None:
        """Show other points."""
        for series, line in zip(self._series, lines, strict=True):
            series["data"] = list(line)
        self._chart.run_chart_method("setOption", {"series": self._series})


def bar_chart(title: str, values: Mapping[str, float]) -> ui.echart:
    """Make a chart of a bar for each name, the first one on top."""
    names = list(values)[::-1]
    return (
        ui.echart(
            {
                **_plain(legend=False),
                "xAxis": _value_axis(),
                "yAxis": {
                    "type": "category",
                    "data": names,
                    "axisLabel": {"color": _GREY, "width": 150, "overflow": "truncate"},
                    "axisLine": {"lineStyle": {"color": _LINE}},
                    "axisTick": {"show": False},
                },
                "series": [{"type": "bar", "data": [values[name] for name in names]}],
            }
        )
        .classes("bars")
        .props(f'role="img" aria-label="{title}"')
    )


def _plain(*, legend: bool) -> dict[str, Any]:
    return {
        "animation": False,
        "color": list(COLOURS),
        "grid": {
            "left": 4,
            "right": 12,
            "top": 28 if legend else 12,
            "bottom": 4,
            "containLabel": True,
        },
        "legend": {"show": legend, "top": 0, "right": 0, "textStyle": {"color": _GREY}},
        "tooltip": {"trigger": "axis", "confine": True},
    }


def _value_axis() -> dict[str, Any]:
    return {
        "type": "value",
        "axisLabel": {"color": _GREY},
        "splitLine": {"lineStyle": {"color": _LINE}},
        "splitNumber": 3,
    }
