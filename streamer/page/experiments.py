"""What each variant of an experiment is worth so far."""

from __future__ import annotations

import asyncio
import functools

from nicegui import ui

from streamer.application.experiments import reported
from streamer.ope.experiment_report import ExperimentReport
from streamer.ope.shadow_report import HEADS, OBJECTIVES_HEADS, OBJECTIVES_TITLE, TITLE
from streamer.page.asking import AnswerPlace, heading, said
from streamer.page.charts import bar_chart
from streamer.page.looking import Looking
from streamer.page.tables import table

_ALPHA = 0.05
_PLANNED = 10_000


class ExperimentsTab:
    """The tab of experiments."""

    def __init__(self, looking: Looking) -> None:
        self._config = looking.served.config
        names = list(self._config.experiments)
        if not names:
            said("The configuration has no [experiments.NAME]: nothing is compared.")
            return
        with ui.element("div").classes("asked"):
            self._name = ui.select(names, value=names[0], label="Experiment")
            self._window = ui.input("Window of a user", value="1d")
            answers = AnswerPlace("Read the topics", self._read)
        for field in (self._name, self._window):
            field.props("outlined dense")
        said(
            "As `streamer experiments` says it. It reads all decisions and events of the topics in"
            " this process, which answers more slowly meanwhile: where they are many, ask with the"
            " command on another machine."
        )
        answers.put(ui.element("div"))

    async def _read(self) -> None:
        name, window = str(self._name.value), str(self._window.value)
        read = functools.partial(
            reported, self._config, name, None, window, alpha=_ALPHA, n_planned=_PLANNED
        )
        _show(await asyncio.to_thread(read), window)


def _show(found: ExperimentReport, window: str) -> None:
    heading(f"Experiment {found.experiment}")
    table(
        "",
        ["variant", "share", "users", "whose time is over", "slates"],
        [
            [
                each.name,
                f"{each.share:.3g}",
                *(f"{n:,}" for n in (each.users, each.complete, each.slates)),
            ]
            for each in found.variants
        ],
    )
    means = {
        each.name: mean for each in found.variants if (mean := each.means["reward"]) is not None
    }
    with ui.element("div").classes("tables"):
        with ui.element("div").classes("card"):
            table(
                f"A user, in the first {window}",
                ["", "variant", "mean", f"less {found.control}", "interval"],
                [
                    [metric, each.name, "–" if mean is None else f"{mean:.4f}", *each.cells(metric)]
                    for metric in found.variants[0].means
                    for each in found.variants
                    for mean in [each.means[metric]]
                ],
                n_words=2,
            )
        if means:
            with ui.element("div").classes("card"):
                ui.label("Mean reward a user").classes("name")
                bar_chart("Mean reward a user", means)
        if found.shadows:
            with ui.element("div").classes("card"):
                shadows = [each.cells() for each in found.shadows]
                table(_capital(TITLE), HEADS, shadows, n_words=2)
        of_objectives = [cells for each in found.shadows for cells in each.objective_cells()]
        if of_objectives:
            with ui.element("div").classes("card"):
                table(_capital(OBJECTIVES_TITLE), OBJECTIVES_HEADS, of_objectives, n_words=3)
    for line in (*found.verdicts(), *found.remarks):
        ui.label(line)
    ui.label(found.split_said()).classes("wrong" if found.split_is_wrong else "")


def _capital(title: str) -> str:
    return title[0].upper() + title[1:]
