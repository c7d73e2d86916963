"""Each command line on a page is one that the command line takes, by its words and options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import typer

from streamer.cli import app
from tests.imports import ROOT

PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINE = re.compile(r"^(?:\$ )?(?:kubectl exec \S+ -- )?(?:[A-Z_]+=\S+ )*(streamer [a-z-].*)$")
INLINE = re.compile(r"`(streamer [a-z-][^`\n]*)`")
ENDS = {"|", ">", ">>", "&", "&&", ";"}
FOREIGN = re.compile(r"""pip\s+install[\s"'f]+streamer(?![-\w])""")
"""What fetches another project of our name from the package index."""
UsageError = cast(type[Exception], typer.BadParameter.__bases__[0])
STREAMER: Any = typer.main.get_command(app)


def written(text: str) -> Iterator[tuple[str, bool]]:
    """Command lines of a page, and whether each is whole: one in a sentence may be shortened."""
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if found := LINE.match(line):
                yield found[1], True
    for line in INLINE.findall(BLOCK.sub("", text)):
        yield line, False


def fault(line: str, *, whole: bool) -> str:
    """Why a line is no command; empty where it is one."""
    words = shlex.split(line, comments=True)[1:]
    rest = words[: min((at for at, word in enumerate(words) if word in ENDS), default=len(words))]
    command = STREAMER
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        if rest[0] not in command.commands:
            several = not whole and {*rest[0].split("|")} <= command.commands.keys()
            return "" if several else f"there is no command {rest[0]}"
        command = command.commands[rest.pop(0)]
    if not whole:
        known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        asked = {word.partition("=")[0] for word in rest if re.match("--[a-z]", word)}
        return ", ".join(sorted(asked - known - {"--help"}))
    try:
        command.make_context("streamer", rest)
    except typer.Exit:  # --help, --version
        return ""
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_one(page: Path) -> None:
    lines = list(written(page.read_text(encoding="utf-8")))
    found = {line: said for line, whole in lines if (said := fault(line, whole=whole))}
    assert not found


def test_nobody_is_told_to_install_another_project_of_our_name() -> None:
    for text in (
        "pip install 'streamer[http]'",
        "pip install streamer",
        "pip install\"\n 'streamer'",
    ):
        assert FOREIGN.search(text), text
    folders = ("streamer", "models", "producers", "deploy", "tests")
    sources = [path for name in folders for path in (ROOT / name).rglob("*.py")]
    said = [
        str(path)
        for path in (*PAGES, *sources)
        if path != Path(__file__) and FOREIGN.search(path.read_text(encoding="utf-8"))
    ]
    assert said == []


def test_commands_are_found_and_wrong_ones_too() -> None:
    text = (
        "`streamer up --data X`\n```sh\nA=b streamer replay a \\\n  --seed 1 # so\n$ streamer\n```"
    )
    assert list(written(text)) == [
        ("streamer replay a    --seed 1 # so", True),
        ("streamer up --data X", False),
    ]
    assert sum(len(list(written(page.read_text(encoding="utf-8")))) for page in PAGES) > 150
    for line, whole, said in (
        ("streamer relay a", True, "no command relay"),
        ("streamer store verfy", False, "no command verfy"),
        ("streamer replay a --sed 1", True, "--sed"),
        ("streamer replay a --seed one", True, "valid integer"),
        ("streamer replay", True, "Missing parameter: log"),
        ("streamer ope … --polcy x", False, "--polcy"),
    ):
        assert said in fault(line, whole=whole), line
    assert fault("streamer store export|import", whole=False) == ""
    assert fault("streamer record decisions x > y", whole=True) == ""
