"""Files that a result goes to, where flags name them: JSON, and a report for the browser."""

from __future__ import annotations

import shlex
import sys
import time
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamer.commands.screen import write_file
from streamer.errors import ConfigError
from streamer.masking import without_secrets

if TYPE_CHECKING:
    from streamer.reports.frame import Origin

ReportOption = Annotated[
    Path | None, typer.Option("--report", help="Write a page with charts here.")
]
OpenOption = Annotated[bool, typer.Option("--open", help="Open the page in the browser.")]


@dataclass(frozen=True, slots=True)
class Written:
    """Where a result goes.

    Attributes
    ----------
    opened
        Whether the report is shown in the browser.

    Raises
    ------
    ConfigError
        Before anything is computed, where a file can't be written.
    """

    json: Path | None
    report: Path | None
    opened: bool

    def __post_init__(self) -> None:
        for path in (self.json, self.report):
            if path is not None and not path.parent.is_dir():
                raise ConfigError(
                    f"{path} can't be written: {path.parent} is no folder; make it first"
                )
        if self.opened and self.report is None:
            raise ConfigError("--open opens the page that --report writes; add --report OUT.html")

    def write(self, as_json: Callable[[], bytes], page: Callable[[Origin], str]) -> None:
        """Make what is asked for, and write it."""
        if self.json is not None:
            write_file(self.json, as_json())
        if self.report is not None:
            write_file(self.report, page(_origin()).encode())
            if self.opened:
                webbrowser.open(self.report.resolve().as_uri())


def _origin() -> Origin:
    from streamer.reports.frame import Origin

    # Bytes of a file's name that are no UTF-8 come as surrogates, which JSON has not.
    given = [each.encode("utf-8", "replace").decode() for each in sys.argv[1:]]
    words = [without_secrets(each) for each in given]
    return Origin(command=shlex.join(["streamer", *words]), at_ms=time.time_ns() // 1_000_000)
