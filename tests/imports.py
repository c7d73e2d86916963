"""Who imports whom, read from the sources without running them."""

from __future__ import annotations

import ast
import functools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOMES = {
    "streamer_client": ROOT / "producers",
    "streamer_models": ROOT / "models",
    "streamer_producers": ROOT / "producers",
}
"""Folders that hold a package which is not at the top; see docs/decisions/0013."""


@dataclass(frozen=True, slots=True)
class Edge:
    """``importer`` imports ``imported``; ``for_types`` when only a type checker does."""

    importer: str
    imported: str
    line: int
    for_types: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def project_version() -> str:
    """Return the version that the project gives itself."""
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return version


def sources(*packages: str) -> dict[str, str]:
    """Return the source of every module of ``packages``, by its dotted name."""
    found = {}
    for package in packages:
        home = HOMES.get(package, ROOT)
        for path in sorted((home / package).rglob("*.py")):
            parts = path.relative_to(home).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = path.read_text()
    return found


def edges(modules: Mapping[str, str]) -> list[Edge]:
    """Return every import in ``modules`` (name to source), those inside functions too."""
    return [edge for name, text in modules.items() for edge in _edges_of(name, text, modules)]


def cycle(found: list[Edge], modules: Mapping[str, str]) -> list[str]:
    """Return the modules of one import cycle, first and last the same, or nothing.

    What is imported for type checkers alone doesn't count: it never runs. The packages around an
    imported module do: they run before it.
    """
    graph: dict[str, set[str]] = {}
    for edge in found:
        if not edge.for_types:
            run = {edge.imported, *_packages_run_by(edge)}
            graph.setdefault(edge.importer, set()).update(run & modules.keys())
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _packages_run_by(edge: Edge) -> Iterator[str]:
    """The packages that hold the imported module, but for those that hold the importer too."""
    package = edge.imported.rpartition(".")[0]
    while package and not f"{edge.importer}.".startswith(f"{package}."):
        yield package
        package = package.rpartition(".")[0]


def _edges_of(name: str, text: str, modules: Mapping[str, str]) -> Iterator[Edge]:
    for given in _imports(text):
        # `from package import name` means the module package.name where there is one.
        targets = {full if full in modules else given.source or full for full in given.full}
        for target in sorted(targets):
            yield Edge(name, target, given.line, given.for_types)


@dataclass(frozen=True, slots=True)
class _Import:
    """One statement; ``source`` is what ``from`` names, and with it ``full`` names what it has."""

    source: str
    full: tuple[str, ...]
    line: int
    for_types: bool


@functools.cache
def _imports(text: str) -> list[_Import]:
    """The imports of a module: parsed once, however many tests ask."""
    tree = ast.parse(text)
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = tuple(alias.name for alias in node.names)
            found.append(_Import("", names, node.lineno, node in for_types))
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            names = tuple(f"{source}.{alias.name}" for alias in node.names)
            found.append(_Import(source, names, node.lineno, node in for_types))
    return found
