"""What is in some files, and how each would be read: a proposal, to be shown and confirmed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from streamer.config import Config, EventConfig, FileConfig
from streamer.config.files import HOLDS, Holds, file_table
from streamer.config.section import Section
from streamer.errors import ConfigError
from streamer.events.types import TYPE_NAME, EventTypes
from streamer_producers.columns import ColumnMapping, assignments
from streamer_producers.datasets import movielens_in, open_described, open_log
from streamer_producers.descriptions import DESCRIBED, parse_description_mapping
from streamer_producers.guessing import (
    Sample,
    event_columns,
    guess_type,
    mapping_text,
    type_meant,
    weight_proposed,
)
from streamer_producers.log import Log
from streamer_producers.mapping import FieldMapping, parse_mapping
from streamer_producers.movielens import MAPPING
from streamer_producers.recognising import FlagMapping, Recognised, recognised
from streamer_producers.tables import RecordTable, open_table
from streamer_producers.times import SAMPLE_RECORDS

_TYPES_COUNTED_MAX: Final = 1_000
_COLUMNS_SHOWN: Final = 12


@dataclass(frozen=True, slots=True)
class ReadingFlags:
    """What was said of the files by flags; None: nothing."""

    mapping: str | None = None
    items_mapping: str | None = None
    event_type: str | None = None
    file_format: str | None = None
    delimiter: str | None = None
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file, and how it would be read.

    Attributes
    ----------
    table
        What the configuration would say of it; None: it needs no table.
    known_as
        The table that the configuration has of it already; "": none.
    columns
        Field → column, all that is read.
    unused
        Columns that are not read.
    remarks
        What was guessed, in sentences.
    types
        Type as the file has it, how often, and the type it becomes.
    timeless
        Whether it has no times: its events get that of their publication.
    by, lacks
        Flags by which it is read; why those that were given are none of it, in sentences.
    """

    path: Path
    holds: Holds
    table: FileConfig | None
    known_as: str
    columns: Mapping[str, str]
    unused: Sequence[str] = ()
    remarks: Sequence[str] = ()
    types: Sequence[tuple[str, int, str]] = ()
    timeless: bool = False
    by: frozenset[str] = frozenset()
    lacks: Sequence[str] = ()

    def open(self, config: Config, *, sort: bool = False) -> Log:
        """Open it as the configuration says, which has its table."""
        if self.holds == "items":
            return open_described(items=self.path, files=config.files)
        if self.holds == "users":
            return open_described(users=self.path, files=config.files)
        return open_log(
            self.path,
            types=config.event_types,
            files=config.files,
            timeless=self.timeless,
            sort=sort,
        )


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
    of_events, of_items = _flag_mappings(asked, config)
    planned: list[PlannedFile] = []
    left_out: list[tuple[str, str]] = []
    for path, is_named in _files_of(paths):
        reading(path.name)
        try:
            planned.append(_planned(path, config, asked, of_events, of_items))
        except ConfigError as error:
            if is_named:
                raise
            said = str(error).removeprefix(f"{path.name}: ").partition("; give the file")[0]
            left_out.append((path.name, said))
    for mapping in filter(None, (of_events, of_items)):
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
    return Plan(files, left_out, {**_new_types(events, config), **_tables(files, config)})


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
            child for child in path.iterdir() if child.is_file() and child.name[0] not in "._"
        )
        if not inside:
            raise ConfigError(f"{path} is a folder without files; name the one that has them")
        for child in inside:
            yield child, False


def _flag_mappings(asked: ReadingFlags, config: Config) -> tuple[FlagMapping, FlagMapping]:
    """Return what --map and --items-map say, once checked."""
    given, given_items = _given(asked.mapping), _given(asked.items_mapping)
    # What a log calls a type may become one that is not configured yet.
    new = [each for name, each in given.items() if name.startswith("type.")]
    types = EventTypes((*config.event_types.names, *filter(TYPE_NAME.fullmatch, new)))
    parse_mapping(asked.mapping or "", types)
    parse_description_mapping(asked.items_mapping or "")
    return (
        FlagMapping("--map", "events", given, config.event_types.names),
        FlagMapping("--items-map", "items", given_items),
    )


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


# --- one file ---------------------------------------------------------------------------------


class _AnyColumns(ColumnMapping):
    """All columns of a file, of which nothing is known."""

    def missing(self, columns: object) -> list[str]:
        """What divides columns is right where it makes more than one."""
        return [] if len(list(columns)) > 1 else ["another"]  # type: ignore[call-overload]

    def require(self, columns: object, log: str) -> None:
        """Any will do."""


def _planned(
    path: Path,
    config: Config,
    asked: ReadingFlags,
    of_events: FlagMapping,
    of_items: FlagMapping,
) -> PlannedFile:
    if movielens_in(path):
        shown = {name: column for name, column in MAPPING.columns.items() if column}
        remark = "MovieLens: read as such, with its movies as the catalogue"
        return PlannedFile(path, "events", None, "", shown, remarks=(remark,))
    for holds in HOLDS:
        known = file_table(config.files, path.name, holds)
        if known is not None:
            return _known(path, known, config, asked, of_events, of_items)
    return _guessed(path, config, asked, of_events, of_items)


def _known(
    path: Path,
    table: FileConfig,
    config: Config,
    asked: ReadingFlags,
    of_events: FlagMapping,
    of_items: FlagMapping,
) -> PlannedFile:
    """A file that the configuration has a table of: read as that says, which no flag may change."""
    name = next(name for name, each in config.files.items() if each is table)
    is_log = table.holds == "events"
    mapping = parse_mapping(table.map, config.event_types) if is_log else None
    mapped: ColumnMapping = mapping or parse_description_mapping(table.map, DESCRIBED[table.holds])
    sources = mapped.sources() or {}
    records = _open(path, sources, table)
    sample = _sample(path, records)
    said = {each.holds: each for each in (of_events, of_items) if each}.get(table.holds)
    if (
        (said is not None and not said.lacking(sample))
        or (is_log and asked.event_type)
        or asked.file_format
        or asked.delimiter
        or asked.encoding
    ):
        raise ConfigError(
            f"{path.name}: [files.{name}] of the configuration says how it is read; change it"
            " there, or remove it for flags to say it"
        )
    own = {name: column for name, column in sources.items() if name not in (*mapped.columns,)}
    columns = {
        name: column
        for name, column in {**mapped.columns, **own}.items()
        if column in sample.columns
    }
    types: Sequence[tuple[str, int, str]] = ()
    if mapping is not None and not table.type and "type" in columns:
        counts = _type_counts(records, columns["type"])
        types = [(each, n, mapping.type_names.get(each, each)) for each, n in counts]
    unused = [each for each in sample.columns if each not in columns.values()]
    timeless = is_log and "ts" not in columns and bool(sample.columns)
    return PlannedFile(path, table.holds, None, name, columns, unused, (), types, timeless=timeless)


def _guessed(
    path: Path,
    config: Config,
    asked: ReadingFlags,
    of_events: FlagMapping,
    of_items: FlagMapping,
) -> PlannedFile:
    reading = _reading(path, asked)
    records = _open(path, {}, reading)
    sample = _sample(path, records)
    number = next(filter(_is_number, sample.columns), None) if sample.is_text else None
    found = None if number is not None else recognised(sample, of_events, of_items)
    placed = next((each for each in (of_events, of_items) if each.by_place), None)
    if found is None and sample.is_text and placed is not None:
        records = _open(path, placed.columns, reading)
        sample = _sample(path, records)
        found = recognised(sample, of_events, of_items)
    if not sample.records:
        raise ConfigError(f"{path.name}: {_why_no_record(records)}")
    if number is not None and placed is None:
        raise ConfigError(
            f"{path.name}: its first line has no names of columns, but values ({number}); name them"
            " by place, as --map 'user_id=#1,item_id=#2,value=#3,ts=#4'"
        )
    if not sample.is_text:
        reading = msgspec.structs.replace(reading, delimiter="")
    lacks = [each for each in (of_events.lacking(sample), of_items.lacking(sample)) if each]
    if found is None:
        given = {} if of_events.lacking(sample) else of_events.columns
        raise ConfigError(f"{path.name}: {'; '.join([*lacks, _unknown(sample, given)])}")
    if found.holds == "events":
        file = _guessed_events(path, sample, records, found, of_events, reading, config, asked)
    else:
        file = _guessed_descriptions(path, sample, found.holds, found.columns, reading)
    return replace(file, by=found.by, lacks=lacks)


def _reading(path: Path, asked: ReadingFlags) -> FileConfig:
    """Return how flags say that a file is read; a delimiter, where it divides the columns."""
    reading = FileConfig(
        file=path.name,
        format=asked.file_format or "",
        delimiter=asked.delimiter or "",
        encoding=asked.encoding or "",
    )
    if not asked.delimiter:
        return reading
    by_itself = msgspec.structs.replace(reading, delimiter="")
    n_divided, n_else = (
        len(_sample(path, _open(path, {}, each)).columns) for each in (reading, by_itself)
    )
    return by_itself if n_divided <= 1 < n_else else reading


def _guessed_descriptions(
    path: Path, sample: Sample, holds: Holds, columns: Mapping[str, str], reading: FileConfig
) -> PlannedFile:
    """A file of items or users, one a row."""
    text = mapping_text(columns)
    parse_description_mapping(text, DESCRIBED[holds])
    plain = {name: column.partition(":")[0] for name, column in columns.items()}
    table = msgspec.structs.replace(reading, holds=holds, map=text)
    needs_table = holds == "users" or table != FileConfig(file=path.name, holds=holds)
    unused = _unused(sample, plain)
    remarks = []
    if holds == "users" and unused:
        remarks.append(
            "of users only what several share is taken, which rules may ask for; name others in the"
            " table, as attributes.NAME=COLUMN"
        )
    return PlannedFile(path, holds, table if needs_table else None, "", plain, unused, remarks)


def _unknown(sample: Sample, given: Mapping[str, str]) -> str:
    """What a file lacks that is neither an event log nor a catalogue."""
    names = ", ".join(sample.columns[:_COLUMNS_SHOWN])
    more = len(sample.columns) - _COLUMNS_SHOWN
    names += f" and {more:,} more" if more > 0 else ""
    found = event_columns(sample, given)
    if "user_id" in found and "item_id" not in found:
        return (
            f"its columns are {names}: users are in {found['user_id']}, but none is known to hold"
            " items; name it with --map item_id=COLUMN"
        )
    if "item_id" in found and found.keys() & {"ts", "type", "value"}:
        return (
            f"its columns are {names}: items are in {found['item_id']}, but none is known to hold"
            " users (name it with --map user_id=COLUMN), and none titles or categories, for a"
            " catalogue (--items-map title=COLUMN)"
        )
    return (
        f"its columns are {names}: an event log has users, items, and times, types or values (name"
        " them with --map user_id=COLUMN,…); a catalogue has items, and titles or categories"
        " (--items-map item_id=COLUMN,…)"
    )


def _guessed_events(
    path: Path,
    sample: Sample,
    records: RecordTable,
    found: Recognised,
    of_events: FlagMapping,
    reading: FileConfig,
    config: Config,
    asked: ReadingFlags,
) -> PlannedFile:
    columns = dict(found.columns)
    lacking = of_events.lacking(sample)
    remarks = [lacking] if lacking else []
    names = of_events.columns if of_events.flag in found.by else {}
    event_type, types = asked.event_type or "", []
    if not event_type and "type" in columns and columns["type"] in config.event_types:
        event_type = columns.pop("type")  # --map type=click
    if event_type:
        columns.pop("type", None)
        FieldMapping(types=config.event_types).with_type(event_type)
    elif "type" in columns:
        for each, n in _type_counts(records, columns["type"]):
            meant = names.get(f"type.{each}") or type_meant(each, config.event_types.names)
            types.append((each, n, meant))
    else:
        event_type, why = guess_type(sample, columns)
        remarks.append(f"all its events are of type {event_type}, since {why}")
    if "session" in columns["user_id"].lower():
        remarks.append(
            f"there is no column of users: each {columns['user_id']} is one, who never comes back"
        )
    timeless = "ts" not in columns
    if timeless:
        remarks.append("there is no column of times: events get the time of their publication")
    plain = {
        name: column.partition(":")[0] if name == "ts" else column
        for name, column in columns.items()
    }
    text = mapping_text(
        columns
        | {
            f"type.{each}": meant
            for each, _, meant in types
            if each != meant and TYPE_NAME.fullmatch(meant) and not set(each) & set(",=")
        }
    )
    table = msgspec.structs.replace(reading, map=text, type=event_type)
    needs_table = table != FileConfig(file=path.name)
    return PlannedFile(
        path,
        "events",
        table if needs_table else None,
        "",
        plain,
        _unused(sample, plain),
        remarks,
        types,
        timeless=timeless,
    )


def _open(path: Path, columns: Mapping[str, str], reading: FileConfig) -> RecordTable:
    return open_table(
        path,
        _AnyColumns(columns=columns),
        name=path.name,
        file_format=reading.format or None,
        delimiter=reading.delimiter or None,
        encoding=reading.encoding or None,
    )


def _sample(path: Path, table: RecordTable) -> Sample:
    records = [
        record for _, record in islice(table.records(), SAMPLE_RECORDS) if isinstance(record, dict)
    ]
    columns = list(dict.fromkeys(name for record in records for name in record))
    return Sample(path.name, columns, records, table.is_text, table.lists)


def _why_no_record(table: RecordTable) -> str:
    """What a file has that has no records."""
    _, first = next(table.records(), (0, None))
    if first is None:
        return "there is no row in it: it is empty, or has names of columns alone; write it again"
    return f"no row in it can be read: {first}; if it is of another format, name that with --format"


def _type_counts(table: RecordTable, column: str) -> list[tuple[str, int]]:
    """Types in the whole file, the most frequent first."""
    counts: Counter[str] = Counter()
    for _, record in table.records():
        value = record.get(column) if isinstance(record, dict) else None
        if value not in (None, "") and (len(counts) < _TYPES_COUNTED_MAX or str(value) in counts):
            counts[str(value)] += 1
    return counts.most_common()


def _given(mapping: str | None) -> dict[str, str]:
    return {name: column for _, name, _, column in assignments(mapping or "")}


def _unused(sample: Sample, columns: Mapping[str, str]) -> list[str]:
    return [each for each in sample.columns if each not in columns.values()]


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", text) is not None


# --- what the configuration would say ---------------------------------------------------------


def _new_types(events: Sequence[PlannedFile], config: Config) -> dict[str, EventConfig]:
    """Tables of the types that are in the files and not configured."""
    names = sorted({meant for each in events for _, _, meant in each.types})
    return {
        f"events.{name}": EventConfig(weight=weight_proposed(name))
        for name in names
        if name not in config.event_types and TYPE_NAME.fullmatch(name)
    }


def _tables(files: Sequence[PlannedFile], config: Config) -> dict[str, FileConfig]:
    """Tables of the files that need one; files that differ in numbers alone share one."""
    shared: dict[tuple[str, FileConfig], list[str]] = {}
    for each in files:
        if each.table is not None:
            alike = msgspec.structs.replace(each.table, file="")
            shared.setdefault((re.sub(r"\d+", "*", each.path.name), alike), []).append(
                each.path.name
            )
    found: dict[str, FileConfig] = {}
    taken = set(config.files)
    for (pattern, table), names in shared.items():
        file = names[0] if len(names) == 1 else pattern
        name = re.sub(r"[^a-z0-9]+", "_", file.lower().split(".")[0]).strip("_") or "file"
        name = name[:60] if name[0].isalpha() else f"file_{name[:50]}"
        while name in taken:
            name += "_2"
        taken.add(name)
        found[f"files.{name}"] = msgspec.structs.replace(table, file=file)
    return found
