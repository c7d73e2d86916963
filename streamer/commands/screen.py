"""Consoles, progress bars and files that commands write to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich import progress as rich_progress
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from streamer.errors import ConfigError

output = Console()
errors = Console(stderr=True)


@contextmanager
def counted_progress(doing: str, total: int | None) -> Iterator[tuple[Progress, TaskID]]:
    """Show a bar with what is done of ``total``; yields the bar and its task."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as bar:
        yield bar, bar.add_task(doing, total=total)


class _Rate(ProgressColumn):
    """Events a second."""

    def render(self, task: rich_progress.Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} events/s")


@contextmanager
def rated_progress() -> Iterator[Progress]:
    """Show bars with the events a second."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as bar:
        yield bar


def show_lines(console: Console, lines: Iterable[str], style: str | None = None) -> None:
    """Print lines as they are, indented, each in one piece."""
    for each in lines:
        console.print(f"  {each}", style=style, highlight=False, markup=False, soft_wrap=True)


def show_malformed(n_malformed: int, first: Sequence[str]) -> None:
    """Print how many lines were left out, and the first of them."""
    if n_malformed:
        errors.print(f"{n_malformed:,} malformed lines left out:", style="yellow", highlight=False)
    for each in first:
        errors.print(f"  {each}", style="yellow", highlight=False, markup=False)


def show_remarks(remarks: Sequence[str]) -> None:
    """Print what was guessed, a line each."""
    for each in remarks:
        errors.print(each, style="yellow", highlight=False, markup=False)


def write_file(path: Path, content: bytes) -> None:
    """Write a file that a flag names.

    Raises
    ------
    ConfigError
        When it can't be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"{path} can't be written ({error.strerror})") from error
