"""Every command, argument and option says what it does."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
import typer
from rich.text import Text
from typer.testing import CliRunner

from streamer.cli import app
from tests.imports import ROOT


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield each command below ``command`` and itself, with the words that call it."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{path} {name}")


def without_help(application: typer.Typer) -> list[str]:
    missing = []
    for path, command in commands(typer.main.get_command(application), "streamer"):
        if not (command.help or "").strip():
            missing.append(path)
        missing += [
            f"{path} {parameter.opts[0]}"
            for parameter in command.params
            if not (getattr(parameter, "help", None) or "").strip()
        ]
    return missing


def test_every_command_and_option_has_help() -> None:
    assert without_help(app) == []


def test_every_command_prints_its_help() -> None:
    for path, _command in commands(typer.main.get_command(app), "streamer"):
        result = CliRunner().invoke(app, [*path.split()[1:], "--help"])
        assert result.exit_code == 0, path
        assert "Usage:" in result.output


def test_help_shows_all_that_it_says() -> None:
    for path, command in commands(typer.main.get_command(app), "streamer"):
        for said in (command, *command.params):
            words = getattr(said, "help", None) or ""
            assert Text.from_markup(words).plain == words, f"{path}: brackets are taken for markup"


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"streamer {project['version']}\n")


@pytest.mark.parametrize(
    "words",
    [
        ["learn", "redis://ann:s3cret@h"],
        ["redis://ann:s3cret@h"],
        ["store", "ann:s3cret@[::1]:1"],
        ["learn", "--redis://ann:s3cret@h"],
        ["--redis://ann:s3cret@h"],
        ["replay", "https://ann:s3cret@h/x.csv"],
    ],
)
def test_what_was_typed_wrongly_is_said_without_its_secrets(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streamer", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode in (1, 2)
    assert "ann:***@" in done.stderr
    assert "s3cret" not in done.stderr + done.stdout


def test_missing_help_is_found() -> None:
    made_up = typer.Typer(help="An application.", add_completion=False)
    group = typer.Typer()

    @group.command()
    def silent(
        path: str, *, told: Annotated[int, typer.Option(help="Told.")] = 1, untold: int = 1
    ) -> None:
        pass

    @group.command(help="It speaks.")
    def speaking() -> None:
        pass

    made_up.add_typer(group, name="group")
    assert without_help(made_up) == [
        "streamer group",
        "streamer group silent",
        "streamer group silent path",
        "streamer group silent --untold",
    ]


def test_help_waits_for_no_compiler() -> None:
    code = "import sys, streamer.cli, streamer.config; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
