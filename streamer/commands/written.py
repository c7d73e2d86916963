"""Files that a result goes to, where flags name them: JSON, and a report for the browser."""

from __future__ import annotations

import shlex
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from streamer.commands.screen import write_file
from streamer.errors import ConfigError
from streamer.masking import without_secrets

if TYPE_CHECKING:
    from streamer.reports.frame import Origin

ReportOption = Annotated[
    Path | None, typer.Option("--report", help="Write a page with charts here.")
]
_OURS: Final = (".json", ".html")
"""Ends of names of results; a former one that lies among the files of a log may be replaced."""
_STDIN: Final = Path("/dev/stdin")

OpenOption = Annotated[bool, typer.Option("--open", help="Open the page in the browser.")]


@dataclass(frozen=True, slots=True)
class Written:
    """Where a result goes.

    Attributes
    ----------
    opened
        Whether the report is shown in the browser.
    inputs
        What is read: files, folders, ``-``; what is no path is passed over.

    Raises
    ------
    ConfigError
        Before anything is computed, where a file can't be written, or is one that is read.
    """

    json: Path | None
    report: Path | None
    opened: bool
    inputs: Sequence[str | Path | None] = ()

    def __post_init__(self) -> None:
        outputs = {"--json": self.json, "--report": self.report}
        named = {option: path for option, path in outputs.items() if path is not None}
        for path in named.values():
            if not path.parent.is_dir():
                raise ConfigError(
                    f"{path} can't be written: {path.parent} is no folder; make it first"
                )
        if self.opened and self.report is None:
            raise ConfigError("--open opens the page that --report writes; add --report OUT.html")
        check_apart(named, self.inputs)

    def write(self, as_json: Callable[[], bytes], page: Callable[[Origin], str]) -> None:
        """Make what is asked for, and write it."""
        if self.json is not None:
            write_file(self.json, as_json())
        if self.report is not None:
            write_file(self.report, page(_origin()).encode())
            if self.opened:
                webbrowser.open(self.report.resolve().as_uri())


def check_apart(outputs: Mapping[str, Path], inputs: Sequence[str | Path | None]) -> None:
    """Raise ConfigError where an output, named by its option, would replace an input or another
    output: under this name or another one, or among the files of a folder that is read."""
    written: dict[Path, str] = {}
    for option, path in outputs.items():
        other = written.setdefault(path.resolve(), option)
        if other != option:
            raise ConfigError(
                f"{other} and {option} both name {path}; the second would replace the first: give"
                " each a file of its own"
            )
        if not path.is_file():  # there is nothing to lose
            continue
        for each in _there(inputs):
            if path.samefile(each):
                raise ConfigError(
                    f"{option} {path} is a file that is read, and would be replaced; name another"
                )
            if each.resolve() in path.resolve().parents and path.suffix not in _OURS:
                raise ConfigError(
                    f"{option} {path} is a file of {each}, which is read, and would be replaced;"
                    " name another"
                )


def _there(inputs: Sequence[str | Path | None]) -> Iterator[Path]:
    for each in inputs:
        path = _STDIN if str(each) == "-" else Path(each or "")
        if each and path.exists():
            yield path


def _origin() -> Origin:
    from streamer.reports.frame import Origin

    # Bytes of a file's name that are no UTF-8 come as surrogates, which JSON has not.
    given = [each.encode("utf-8", "replace").decode() for each in sys.argv[1:]]
    words = [without_secrets(each) for each in given]
    return Origin(command=shlex.join(["streamer", *words]), at_ms=time.time_ns() // 1_000_000)
