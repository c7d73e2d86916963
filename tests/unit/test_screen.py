"""What stands in brackets is shown as it is, wherever a name of others is printed."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.console import Console
from rich.progress import TextColumn

from streamer.application.local.up import _say_what_is_there
from streamer.commands.screen import counted_progress, rated_progress

NAME = "part [a].csv"


def described(bar: Any) -> list[str]:
    """Return the texts of a bar's tasks."""
    column = next(each for each in bar.columns if isinstance(each, TextColumn))
    return [column.render(task).plain for task in bar.tasks]


def test_bars_show_names_as_they_are() -> None:
    with counted_progress(f"reading {NAME}", 3) as (bar, _):
        assert described(bar) == [f"reading {NAME}"]
    with rated_progress() as bar:
        bar.add_task(NAME, total=None)
        assert described(bar) == [NAME]


def test_a_folder_that_is_brought_back_is_named_as_it_is() -> None:
    shown = StringIO()
    trial: Any = SimpleNamespace(n_kept=5, n_unkept=0)
    _say_what_is_there(trial, Path("/shop [a]"), Console(file=shown, width=200))
    assert "brought back from /shop [a]" in shown.getvalue()


def test_a_store_that_was_set_aside_is_named_as_it_is() -> None:
    shown, aside = StringIO(), Path("/shop [a]/1-streamer.db")
    trial: Any = SimpleNamespace(n_kept=0, n_unkept=1_234, set_aside=aside)
    _say_what_is_there(trial, Path("/shop [a]"), Console(file=shown, width=80))
    assert "was killed: 1,234 messages" in shown.getvalue()
    assert f"the store of before is in {aside}," in shown.getvalue()
