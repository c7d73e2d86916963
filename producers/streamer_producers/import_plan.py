"""What is in some files, and how each would be read: a proposal, to be shown and confirmed."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from streamer.config import Config, EventConfig, FileConfig
from streamer.config.files import is_of
from streamer.config.section import Section
from streamer.errors import ConfigError
from streamer.events.types import TYPE_NAME
from streamer_producers.datasets import movielens_in
from streamer_producers.gone_messages import SUFFIX as GONE
from streamer_producers.guessing import (
    weight_proposed,
)
from streamer_producers.planned_file import FilePlanner, PlannedFile, ReadingFlags
from streamer_producers.recognising import FlagMapping


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be imported.

    Attributes
    ----------
    files
        Those that are used: the catalogue first, then the users.
    left_out
        Name of a file that is not used, and why.
    tables
        What would be added to the configuration, by dotted name.
    """

    files: Sequence[PlannedFile]
    left_out: Sequence[tuple[str, str]]
    tables: Mapping[str, Section]

    def configured(self, config: Config) -> Config:
        """Return the configuration with the tables that would be added."""
        added: dict[str, dict[str, Section]] = {"events": {}, "files": {}}
        for dotted, table in self.tables.items():
            section, _, name = dotted.partition(".")
            added[section][name] = table
        return msgspec.structs.replace(
            config,
            events=config.events | added["events"],
            files=config.files | added["files"],
        )


def plan_import(
    paths: Sequence[str], config: Config, asked: ReadingFlags, *, reading: Callable[[str], None]
) -> Plan:
    """Look at files, and at those in folders, and find out how to read them.

    Parameters
    ----------
    reading
        Called with the name of each file before it is looked at.

    Raises
    ------
    ConfigError
        When there is no such file, one that was named itself can't be used, or none has the columns
        that a flag names.
    """
    planner = FilePlanner(config, asked)
    planned: list[PlannedFile] = []
    left_out: list[tuple[str, str]] = []
    for path, is_named in _files_of(paths):
        reading(path.name)
        try:
            file = planner.planned(path)
            planned.append(file if is_named else _with_table(file))
        except ConfigError as error:
            if is_named:
                raise
            said = str(error).removeprefix(f"{path.name}: ").partition("; give the file")[0]
            left_out.append((path.name, said))
    for mapping in filter(None, planner.mappings):
        _require_use(mapping, planned, left_out)
    events = [each for each in planned if each.holds == "events"]
    files = []
    for holds, what in (("items", "catalogue"), ("users", "file of users")):
        found = sorted(
            (each for each in planned if each.holds == holds),
            key=lambda each: (not each.by, "title" not in each.columns, -len(each.columns)),
        )
        left_out += [
            (each.path.name, f"one {what} is published, and {found[0].path.name} says more")
            for each in found[1:]
        ]
        files += found[:1]
    files += events
    if not files:
        reasons = "".join(f"\n  {name}: {why}" for name, why in left_out)
        raise ConfigError(f"{', '.join(paths)}: nothing there can be used{reasons}")
    others = {name for name, _ in left_out}
    tables = _tables(files, others, config)
    return Plan(files, left_out, {**_new_types(events, config), **tables})


def _files_of(paths: Sequence[str]) -> Iterator[tuple[Path, bool]]:
    """Files, and whether each was named itself."""
    for each in paths:
        path = Path(each)
        if not path.exists():
            raise ConfigError(f"{path} is no file or folder; name one, or several")
        if path.is_file() or movielens_in(path):
            yield path, True
            continue
        inside = sorted(
            child
            for child in path.iterdir()
            if child.is_file() and child.name[0] not in "._" and child.suffix != GONE
        )
        if not inside:
            raise ConfigError(f"{path} is a folder without files; name the one that has them")
        for child in inside:
            yield child, False


def _require_use(
    mapping: FlagMapping, planned: Sequence[PlannedFile], left_out: Sequence[tuple[str, str]]
) -> None:
    """Check that a file is read by a mapping that was given."""
    if any(mapping.flag in each.by for each in planned):
        return
    reasons = [(each.path.name, _why_not(mapping, each)) for each in planned]
    said = "".join(f"\n  {name}: {why}" for name, why in (*reasons, *left_out))
    raise ConfigError(f"no file is read by {mapping.flag}; mend its names of columns{said}")


def _why_not(mapping: FlagMapping, file: PlannedFile) -> str:
    if file.known_as:
        return f"[files.{file.known_as}] of the configuration says how it is read"
    if lacks := [each for each in file.lacks if mapping.flag in each]:
        return f"{lacks[0]}; its columns are {', '.join([*file.columns.values(), *file.unused])}"
    return f"it holds {file.holds}, and is read as such"


def _new_types(events: Sequence[PlannedFile], config: Config) -> dict[str, EventConfig]:
    """Tables of the types that are in the files and not configured."""
    names = sorted({meant for each in events for _, _, meant in each.types})
    return {
        f"events.{name}": EventConfig(weight=weight_proposed(name))
        for name in names
        if name not in config.event_types and TYPE_NAME.fullmatch(name)
    }


def _with_table(file: PlannedFile) -> PlannedFile:
    """A file of a folder with a table, even if that says nothing but what the file holds: the
    folder is read by the tables of its files."""
    if file.table is not None or file.known_as:
        return file
    return replace(file, table=FileConfig(file=file.path.name, holds=file.holds))


def _tables(
    files: Sequence[PlannedFile], others: Collection[str], config: Config
) -> dict[str, FileConfig]:
    """Tables of the files that need one; files that differ in numbers alone share one, where no
    other file has such a name."""
    shared: dict[tuple[str, FileConfig], list[str]] = {}
    for each in files:
        if each.table is not None:
            alike = msgspec.structs.replace(each.table, file="")
            shared.setdefault((re.sub(r"\d+", "*", each.path.name), alike), []).append(
                each.path.name
            )
    all_names = {each.path.name for each in files}.union(others)
    written = [
        (file, table)
        for (pattern, table), names in shared.items()
        for file in (
            [pattern]
            if len(names) > 1 and {each for each in all_names if is_of(each, pattern)} == {*names}
            else names
        )
    ]
    found: dict[str, FileConfig] = {}
    taken = set(config.files)
    for file, table in written:
        name = re.sub(r"[^a-z0-9]+", "_", file.lower().split(".")[0]).strip("_") or "file"
        name = name[:60] if name[0].isalpha() else f"file_{name[:50]}"
        while name in taken:
            name += "_2"
        taken.add(name)
        found[f"files.{name}"] = msgspec.structs.replace(table, file=file)
    return found
