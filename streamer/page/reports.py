"""Reports of replays, of the league and of off-policy evaluations that a folder holds."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import quote

from nicegui import ui

from streamer.page.asking import AnswerPlace, at, heading, said
from streamer.page.looking import Looking
from streamer.page.tables import table
from streamer.reports.folder import LISTED_MAX, ReportFolder, ReportList

_COMMANDS: Final = (
    ("a league of models on a log", "streamer replay LOG --model all --report {}/league.html"),
    (
        "what another policy would have earned",
        "streamer ope LOG --format decisions --policy uniform --report {}/ope.html",
    ),
)


class ReportsTab:
    """The tab of reports."""

    def __init__(self, looking: Looking) -> None:
        named = looking.served.config.http.reports
        if not named:
            said(
                "No folder of reports is named. Make one, and start the service with --reports"
                ' FOLDER (http.reports = "FOLDER"). Reports are written by'
            )
            _show_commands("FOLDER")
            return
        self._folder = ReportFolder(named)
        with ui.element("div").classes("asked"):
            answers = AnswerPlace("Look again", self._list)
        answers.put(ui.element("div"))
        ui.timer(0, answers.fill, once=True)

    async def _list(self) -> None:
        _show(await asyncio.to_thread(self._folder.listed), self._folder)


def _show(found: ReportList, folder: ReportFolder) -> None:
    heading("Reports")
    if found.reports:
        said(f"Of the folder {folder.path}, the newest first. Each opens in a tab of its own.")
        heads = [each.head for each in found.reports]
        table(
            "",
            ["report", "kind", "written (UTC)", "by"],
            [[each.title, each.kind, at(each.origin.at_ms), each.origin.command] for each in heads],
            n_words=4,
            link=lambda place: f"/reports/{quote(found.reports[place].name, safe='')}",
        )
    else:
        said(f"There is no report in the folder {folder.path} yet. One is written by")
        _show_commands(str(folder.path))
    if found.n_foreign:
        said(
            f"HTML files that streamer did not write, and that are not shown: {found.n_foreign:,}."
        )
    if found.n_older:
        said(f"Files older than the last {LISTED_MAX}, which are not read: {found.n_older:,}.")


def _show_commands(folder: str) -> None:
    for what, command in _COMMANDS:
        with ui.element("pre").classes("raw").props('tabindex="0"'):
            ui.label(command.format(folder))
        said(what)
