"""The commands that a page shows with what they print, and a terminal that runs them.

A block of ``console`` holds commands behind ``$``, each with its output below it; one of ``sh``
holds commands alone. A block of code that begins with ``# NAME`` is a file of that name, and one
with ``# NAME, besides`` is added to it.
"""

from __future__ import annotations

import difflib
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.imports import ROOT

PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
FENCE = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# ([a-z_]+\.(?:py|toml))(, besides)?\n")
TYPED = re.compile(r"(?<=]: )(.+)\n")
"""What a reader types where a command asks."""
LEFT_OUT = re.compile(r"[│\s]*…[│…\s]*")
"""A line that stands for any lines."""
NUMBER = re.compile(r"[-+]?\d[\d,]*\.\d+")
VOLATILE = (
    (re.compile(r"\b[0-9a-f]{32}\b"), "ID"),
    (re.compile(r"\b1[5-9]\d{11}(?:\.0)?\b"), "MS"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)?"), "TIME"),
    (re.compile(r"\bp0:\d+(?:,p\d+:\d+)+"), "VERSION"),
    (re.compile(r'"next":"[^"]+"'), '"next":"PAGE"'),
    (re.compile(r"127\.0\.0\.1:\d+"), "ADDRESS"),
    (re.compile(r"(?m)^date: .*"), "date: TIME"),
    (re.compile(r"\S+/bin/streamer\b"), "streamer"),
    (re.compile(r"in \d+ ms\b"), "in N ms"),
    (re.compile(r"[\d,.]+ s\b"), "N s"),
    (re.compile(r"[\d,]+ events/s"), "N events/s"),
    (re.compile(r"(?<=versions: ).*"), "VERSIONS"),
    (re.compile(r'sqlite:[^\s"]+'), "SQLITE"),
)
"""What differs from run to run, and what stands for it."""

RECOMMENDED = (
    (re.compile(r"(?m)^│.*\n"), ""),
    (re.compile(r"[┏┡└][^\n]*\n"), ""),
    (re.compile(r"what adds to the[^┃]*"), "what adds\n"),
    (re.compile(r'"reason":"[^"]*"(?:,"because":"[^"]*")?'), "REASON"),
    (re.compile(r"(?m)^brought by .*"), "brought by CHANNELS"),
    (re.compile(r"\d+(?= came in| went out| moved| stayed)"), "N"),
    (re.compile(r"place \d+ of \d+ candidates"), "place N of N candidates"),
)
"""What differs from one learner to the next, and what stands for it."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A command of a page, and the lines that it prints there."""

    command: str
    printed: str | None = None
    """Nothing where the page shows commands alone."""

    @property
    def typed(self) -> str:
        return "".join(f"{words}\n" for words in TYPED.findall(self.printed or ""))


@dataclass(frozen=True, slots=True)
class File:
    """A file that a page has the reader write."""

    name: str
    text: str
    added: bool


def sections(text: str) -> dict[str, str]:
    """Return the parts of a page by their headings; what stands above the first has none."""
    head, *rest = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    return {"": head, **dict(zip(rest[::2], rest[1::2], strict=True))}


def steps(text: str) -> Iterator[Shown | File]:
    """Yield the files and the commands of a text, in their order."""
    for language, block in FENCE.findall(text):
        if language in ("console", "sh"):
            yield from _commands(block, prompt="$ " if language == "console" else "")
        elif found := FILE.match(block):
            yield File(found[1], block, found[2] is not None)


def _commands(block: str, *, prompt: str) -> Iterator[Shown]:
    """Yield the commands of a block; one goes on behind a backslash, and where a line is indented.

    Raises
    ------
    AssertionError
        If output stands above the first command.
    """
    lines = block.splitlines()
    at = 0
    while at < len(lines):
        assert lines[at].startswith(prompt), f"what printed {lines[at]!r}?"
        begin = at
        at += 1
        while at < len(lines) and (
            lines[at - 1].endswith("\\") or (not prompt and lines[at].startswith(" "))
        ):
            at += 1
        command = "\n".join(lines[begin:at]).removeprefix(prompt)
        if not prompt:
            if command:
                yield Shown(command)
            continue
        begin = at
        while at < len(lines) and not lines[at].startswith(prompt):
            at += 1
        yield Shown(command, "".join(f"{line}\n" for line in lines[begin:at]))


def differences(shown: str, printed: str) -> str:
    """Return how what a command printed differs from what a page shows; "" where it doesn't."""
    wanted, found = _normal(TYPED.sub("", shown)), _normal(printed)
    if _agree(wanted, found):
        return ""
    return "\n".join(difflib.unified_diff(wanted, found, "shown", "printed", lineterm=""))


def _normal(text: str) -> list[str]:
    """Return the lines of a text, without what is volatile, and without the width of cells."""
    for pattern, name in VOLATILE:
        text = pattern.sub(name, text)
    lines = [re.sub(r"[━─]+", "━", re.sub(r" +", " ", line)).strip() for line in text.splitlines()]
    timed = False
    for at, line in enumerate(lines):
        if line.startswith("┃"):
            timed = line.endswith("µs/event ┃")
        elif timed and line.startswith("│"):
            lines[at] = re.sub(r"[\d,]+ │$", "N │", line)
    return [line for line in lines if line]


def _agree(shown: list[str], printed: list[str]) -> bool:
    if not shown:
        return not printed
    if LEFT_OUT.fullmatch(shown[0]):
        return any(_agree(shown[1:], printed[at:]) for at in range(len(printed) + 1))
    return bool(printed) and shown[0] == printed[0] and _agree(shown[1:], printed[1:])


def shape(text: str, names: Collection[str]) -> str:
    """Return what is printed of a slate, but for what a system recommends, why, and by how much.

    What several partitions learn depends on which of them is first.

    Parameters
    ----------
    names
        Of all items, by id and by title.
    """
    for pattern, name in (*VOLATILE, *RECOMMENDED):
        text = pattern.sub(name, text)
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "ITEM", text)
    text = re.sub(r'\["ITEM","[^"]*"\]', "[ITEM, REASON]", text)
    return NUMBER.sub("NUMBER", text)


def reader(**given: str) -> dict[str, str]:
    """Return the environment of a reader's terminal: ours first on its path, no settings."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("STREAMER_")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return ours | {"PATH": path, "COLUMNS": "120", "TERM": "dumb", "TZ": "UTC"} | given


class Terminal:
    """A bash that takes one command after the other, as a reader's does, aliases among them."""

    END = "=== the command ended with"

    def __init__(self, folder: Path, environment: Mapping[str, str], *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.run("shopt -s expand_aliases")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._bash:
            os.killpg(self._bash.pid, signal.SIGKILL)

    def run(self, command: str, typed: str = "") -> tuple[str, int]:
        """Return what a command prints, errors among it, and its exit status."""
        assert self._bash.stdin is not None
        asked = f"{{\n{command}\n}} <<'TYPED'\n{typed}TYPED\nprintf '{self.END} %d\\n' $?\n"
        self._bash.stdin.write(asked.encode())
        self._bash.stdin.flush()
        printed = self._until_the_end(command)
        before, _, status = printed.rpartition(self.END)
        return before, int(status)

    def _until_the_end(self, command: str) -> str:
        assert self._bash.stdout is not None
        deadline = time.monotonic() + self._timeout_s
        read = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._bash.stdout, selectors.EVENT_READ)
            while not re.search(rb"%s \d+\n$" % self.END.encode(), read):
                rest_s = deadline - time.monotonic()
                assert rest_s > 0, f"{command} goes on after {self._timeout_s:.0f} s: {read!r}"
                if selector.select(rest_s):
                    some = os.read(self._bash.stdout.fileno(), 65_536)
                    assert some, f"{command} ended the shell: {read!r}"
                    read += some
        return read.decode()
