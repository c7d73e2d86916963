"""How one file would be read: as the configuration says, as flags say, or as its rows look."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from streamer.config import Config, FileConfig
from streamer.config.files import HOLDS, Holds, file_table
from streamer.errors import ConfigError
from streamer.events.types import TYPE_NAME, EventTypes
from streamer_producers.columns import ColumnMapping, assignments
from streamer_producers.datasets import movielens_in, open_described, open_log
from streamer_producers.descriptions import DESCRIBED, parse_description_mapping
from streamer_producers.guessing import (
    REPEATED_USERS_SHARE_MAX,
    TYPES_MAX,
    Sample,
    event_columns,
    guess_type,
    mapping_text,
    nearest_of,
    type_meant,
    unread,
)
from streamer_producers.log import Log
from streamer_producers.mapping import FieldMapping, parse_mapping
from streamer_producers.movielens import MAPPING
from streamer_producers.recognising import FlagMapping, Recognised, recognised
from streamer_producers.tables import RecordTable, open_table
from streamer_producers.times import SAMPLE_RECORDS, TimeGuess

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
        Type as the file has it, how often, and the type it becomes; "": none, its rows are left
        out.
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

    def open(self, config: Config) -> Log:
        """Open it as the configuration says, which has its table; events in its own order."""
        if self.holds == "items":
            return open_described(items=self.path, files=config.files)
        if self.holds == "users":
            return open_described(users=self.path, files=config.files)
        return open_log(
            self.path,
            types=config.event_types,
            files=config.files,
            timeless=self.timeless,
            sort=False,
        )


class FilePlanner:
    """Finds out how files are read, by the configuration, by flags, or by guessing.

    Attributes
    ----------
    mappings
        What ``--map`` and ``--items-map`` say, each for the files that have its columns.

    Raises
    ------
    ConfigError
        When a mapping can't be read.
    """

    def __init__(self, config: Config, asked: ReadingFlags) -> None:
        self._config, self._asked = config, asked
        self._of_events, self._of_items = _flag_mappings(asked, config)
        self.mappings = (self._of_events, self._of_items)

    def planned(self, path: Path) -> PlannedFile:
        """Look at a file, and find out how to read it.

        Raises
        ------
        ConfigError
            When it can't be used, or flags contradict the configuration.
        """
        if movielens_in(path):
            shown = {name: column for name, column in MAPPING.columns.items() if column}
            remark = "MovieLens: read as such, with its movies as the catalogue"
            return PlannedFile(path, "events", None, "", shown, remarks=(remark,))
        for holds in HOLDS:
            known = file_table(self._config.files, path.name, holds)
            if known is not None:
                return self._known(path, known)
        return self._guessed(path)

    def _known(self, path: Path, table: FileConfig) -> PlannedFile:
        """A file that the configuration has a table of, which no flag may change."""
        name = next(name for name, each in self._config.files.items() if each is table)
        is_log = table.holds == "events"
        mapping = parse_mapping(table.map, self._config.event_types) if is_log else None
        mapped: ColumnMapping = mapping or parse_description_mapping(
            table.map, DESCRIBED[table.holds]
        )
        sources = mapped.sources() or {}
        records = _open(path, sources, table)
        sample = _sample(path, records)
        said = next((each for each in self.mappings if each and each.holds == table.holds), None)
        if (
            (said is not None and not said.lacking(sample))
            or (is_log and self._asked.event_type)
            or self._asked.file_format
            or self._asked.delimiter
            or self._asked.encoding
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
        return PlannedFile(
            path, table.holds, None, name, columns, unused, (), types, timeless=timeless
        )

    def _guessed(self, path: Path) -> PlannedFile:
        reading = _reading(path, self._asked)
        records = _open(path, {}, reading)
        sample = _sample(path, records)
        number = next(filter(_is_number, sample.columns), None) if sample.is_text else None
        found = None if number is not None else recognised(sample, self._of_events, self._of_items)
        placed = next((each for each in self.mappings if each.by_place), None)
        if found is None and sample.is_text and placed is not None:
            records = _open(path, placed.columns, reading)
            sample = _sample(path, records)
            found = recognised(sample, self._of_events, self._of_items)
        if not sample.records:
            raise ConfigError(f"{path.name}: {_why_no_record(records)}")
        if number is not None and placed is None:
            raise ConfigError(
                f"{path.name}: its first line has no names of columns, but values ({number}); name"
                " them by place, as --map 'user_id=#1,item_id=#2,value=#3,ts=#4'"
            )
        if not sample.is_text:
            reading = msgspec.structs.replace(reading, delimiter="")
        lacks = [said for each in self.mappings if (said := each.lacking(sample))]
        if found is None:
            given = {} if self._of_events.lacking(sample) else self._of_events.columns
            raise ConfigError(f"{path.name}: {'; '.join([*lacks, _unknown(sample, given)])}")
        if found.holds == "events":
            file = self._guessed_events(path, sample, records, found, reading)
        else:
            file = _guessed_descriptions(path, sample, found.holds, found.columns, reading)
        return replace(file, by=found.by, lacks=lacks)

    def _guessed_events(
        self,
        path: Path,
        sample: Sample,
        records: RecordTable,
        found: Recognised,
        reading: FileConfig,
    ) -> PlannedFile:
        columns = dict(found.columns)
        lacking = self._of_events.lacking(sample)
        remarks = [lacking] if lacking else []
        names = self._of_events.columns if self._of_events.flag in found.by else {}
        event_type = self._asked.event_type or ""
        types: list[tuple[str, int, str]] = []
        if not event_type and "type" in columns and columns["type"] in self._config.event_types:
            event_type = columns.pop("type")  # --map type=click
        if event_type:
            columns.pop("type", None)
            FieldMapping(types=self._config.event_types).with_type(event_type)
        elif "type" in columns:
            known = self._config.event_types.names
            for each, n in _type_counts(records, columns["type"]):
                meant = names.get(f"type.{each}") or type_meant(each, known)
                is_taken = meant in known or (len(types) < TYPES_MAX and TYPE_NAME.fullmatch(meant))
                types.append((each, n, meant if is_taken else ""))
        else:
            event_type, why = guess_type(sample, columns)
            remarks += unread(sample, columns)
            remarks.append(f"all its events are of type {event_type}, since {why}")
        if "session" in columns["user_id"].lower():
            remarks.append(
                f"there is no column of users: each {columns['user_id']} is one, who never comes"
                " back"
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


class _AnyColumns(ColumnMapping):
    """All columns of a file, of which nothing is known."""

    def missing(self, columns: object) -> list[str]:
        """What divides columns is right where it makes more than one."""
        return [] if len(list(columns)) > 1 else ["another"]  # type: ignore[call-overload]

    def require(self, columns: object, log: str) -> None:
        """Any will do."""


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
    if holds == "users":
        _require_users(path, table, plain["user_id"])
    needs_table = holds == "users" or table != FileConfig(file=path.name, holds=holds)
    unused = _unused(sample, plain)
    remarks = [*_doubts(sample, holds, columns)]
    if holds == "users" and unused:
        remarks.append(
            "of users only what several share is taken, which rules may ask for; name others in the"
            " table, as attributes.NAME=COLUMN"
        )
    return PlannedFile(path, holds, table if needs_table else None, "", plain, unused, remarks)


def _require_users(path: Path, table: FileConfig, column: str) -> None:
    """Check that a file names each user in one row, but for a few copies."""
    log = open_described(users=path, files={"users": table})
    for n, _ in enumerate(log.users(), 1):
        # What users did may be a long file, and shows it soon.
        if n == SAMPLE_RECORDS and log.repeated_users.share > REPEATED_USERS_SHARE_MAX:
            break
    repeated = log.repeated_users
    if repeated.share > REPEATED_USERS_SHARE_MAX:
        raise ConfigError(
            f"{path.name}: {repeated.n:,} of {repeated.n_rows:,} rows repeat a user of {column}, as"
            f" {repeated.example!r}: a file of users has a row of each (write the last one alone),"
            " and an event log has items too (name their column with --map item_id=COLUMN)"
        )


def _doubts(sample: Sample, holds: Holds, columns: Mapping[str, str]) -> Iterator[str]:
    """Say which times of items or users are in a unit that is not clear."""
    for name in DESCRIBED[holds].times:
        column, colon, _ = columns.get(name, "").rpartition(":")
        flag = f"--items-map {name}" if holds == "items" else "--map ts"
        guess = TimeGuess(sample.values(column) if colon else (), flag=flag)
        if not guess.is_clear and guess.remark is not None:
            yield f"{name}: {guess.remark}"


def _unknown(sample: Sample, given: Mapping[str, str]) -> str:
    """What a file lacks that is neither an event log nor a catalogue."""
    names = ", ".join(sample.columns[:_COLUMNS_SHOWN])
    more = len(sample.columns) - _COLUMNS_SHOWN
    names += f" and {more:,} more" if more > 0 else ""
    found = event_columns(sample, given)
    used = [column.partition(":")[0] for column in found.values()]
    near = {name: nearest_of(sample, name, used) for name in ("user_id", "item_id")}
    named = {name: f"{name}={column or 'COLUMN'}" for name, column in near.items()}
    if "user_id" in found and "item_id" not in found:
        return (
            f"its columns are {names}: users are in {found['user_id']}, but none is known to hold"
            f" items, for an event log (name it with --map {named['item_id']}), and none interests"
            " or what several of them share, for a file of users"
        )
    if "item_id" in found and found.keys() & {"ts", "type", "value"}:
        return (
            f"its columns are {names}: items are in {found['item_id']}, but none is known to hold"
            f" users (name it with --map {named['user_id']}), and none titles or categories, for a"
            " catalogue (--items-map title=COLUMN)"
        )
    lacking = [name for name in near if name not in found]
    wanted = [named[name] for name in lacking if near[name]] or [named["user_id"]]
    return (
        f"its columns are {names}: an event log has users, items, and times, types or values (name"
        f" them with --map {','.join(wanted)},…); a catalogue has items, and titles or categories"
        " (--items-map item_id=COLUMN,…)"
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
        text = "" if value is None else str(value).strip()
        if text and (len(counts) < _TYPES_COUNTED_MAX or text in counts):
            counts[text] += 1
    return counts.most_common()


def _given(mapping: str | None) -> dict[str, str]:
    return {name: column for _, name, _, column in assignments(mapping or "")}


def _unused(sample: Sample, columns: Mapping[str, str]) -> list[str]:
    return [each for each in sample.columns if each not in columns.values()]


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", text) is not None
