"""streamer as docs/extending.md extends it: its files in a folder, and copies of registries.

A process that begins with :attr:`Extended.prelude` finds them as if they were among the sources.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.imports import HOMES, ROOT

PAGE = ROOT / "docs" / "extending.md"
_BLOCK = re.compile(r"```python\n# (\S+\.py)\n(.*?)```", re.DOTALL)
_LINE = re.compile(
    r"The line, in\s+`(\S+\.py)`:\s+import\s+`(\w+)`\s+and\s+put\s+(?:it|`(\S+)`)\s+into"
    r"\s+(?:the\s+list\s+of\s+)?`(\w+)`"
)
_PRELUDE = """
import importlib.abc, importlib.util, sys

class _Extended(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        file = {files!r}.get(name)
        return file and importlib.util.spec_from_file_location(name, file)

sys.meta_path.insert(0, _Extended())
"""


def documented() -> dict[str, str]:
    """The source of each file that the page adds, by the path that its first line says."""
    page = PAGE.read_text(encoding="utf-8")
    found = dict(_BLOCK.findall(page))
    assert len(found) == page.count("```python\n"), "a block begins with the path of its file"
    return found


@dataclass(frozen=True, slots=True)
class Extended:
    """What the page adds, followed.

    Attributes
    ----------
    prelude
        Code with which a process begins.
    tests
        The tests of the page.
    """

    prelude: str
    tests: list[Path]

    def run(self, code: str) -> None:
        """Run code in a process in which everything is added."""
        done = subprocess.run(
            [sys.executable, "-c", self.prelude + code],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def extended(folder: Path) -> Extended:
    """Do what the page says, in a folder."""
    sources = documented()
    modules = {path: source for path, source in sources.items() if not path.startswith("tests/")}
    lines = _LINE.findall(PAGE.read_text(encoding="utf-8"))
    homes = {name: path for path, source in modules.items() for name in _classes(source)}
    assert {homes[name] for _, name, _, _ in lines} == {*modules}, "each file has its line"
    for registry, name, entry, container in lines:
        text = modules.get(registry) or (ROOT / registry).read_text(encoding="utf-8")
        line = f"from {_module(homes[name])} import {name}\n"
        modules[registry] = _with_entry(_with_import(text, line), container, entry or name)
    for path, text in {**sources, **modules}.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    files = {_module(path): str(folder / path) for path in modules}
    tests = [folder / path for path in sources if path.startswith("tests/")]
    return Extended(_PRELUDE.format(files=files), tests)


def _classes(source: str) -> list[str]:
    return re.findall(r"^class (\w+)", source, re.MULTILINE)


def _module(path: str) -> str:
    """The module that a path in the repository is of."""
    for home in HOMES.values():
        path = path.removeprefix(f"{home.relative_to(ROOT)}/")
    return path.removesuffix(".py").replace("/", ".")


def _with_import(text: str, line: str) -> str:
    head, future, rest = text.partition("from __future__ import annotations\n\n")
    assert future
    return head + future + line + rest


def _with_entry(text: str, container: str, entry: str) -> str:
    """The source of a registry with an entry at the end of what is named so."""
    lines = text.splitlines(keepends=True)
    (begin,) = (i for i, line in enumerate(lines) if re.match(rf"(def )?{container}\b", line))
    end = next(i for i in range(begin, len(lines)) if re.match(r"\s*[\])]$", lines[i]))
    indent = re.match(r"\s*", lines[end])
    assert indent
    lines.insert(end, f"{indent[0]}    {entry},\n")
    return "".join(lines)
