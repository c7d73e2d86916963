"""Open a log, whatever its format: files of many kinds, MovieLens, official data sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from streamer.config import FileConfig
from streamer.config.files import HOLDS, Holds, file_table
from streamer.errors import BadMessage, ConfigError
from streamer.events import EventTypes, Item, User
from streamer_producers.descriptions import (
    DESCRIBED,
    DescriptionMapper,
    parse_description_mapping,
)
from streamer_producers.download import BASE_URL, DATASETS, fetch
from streamer_producers.log import Descriptions, Log, LogFileEvents, Malformed
from streamer_producers.log_file import LogFile, files_in, spooled
from streamer_producers.mapping import FieldMapping, parse_mapping
from streamer_producers.movielens import FILES, LAYOUTS, MAPPING, RATINGS_COLUMNS, layout_of
from streamer_producers.tables import open_table
from streamer_producers.times import SAMPLE_RECORDS

__all__ = ["Log", "Malformed", "open_described", "open_log", "read_with"]


def open_log(
    path_or_name: str | Path,
    *,
    mapping: str | FieldMapping | None = None,
    event_type: str | None = None,
    types: EventTypes | None = None,
    strict: bool = False,
    sort: bool | None = None,
    items: str | Path | None = None,
    users: str | Path | None = None,
    file_format: str | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    timeless: bool = False,
    files: Mapping[str, FileConfig] | None = None,
    cache: Path | None = None,
    base_url: str = BASE_URL,
    show_progress: bool = True,
) -> Log:
    """Open a log of events.

    Parameters
    ----------
    path_or_name
        A file: ``.jsonl``, ``.csv``, ``.tsv``, ``.inter``, ``.txt``, ``.dat`` with ``::`` between
        values (each also with ``.gz`` or ``.zst``) or ``.parquet``; ``-`` or a pipe, which is read
        to its end first; a folder or a zip archive of MovieLens, or its file of ratings;
        a folder with event logs among ``files``, whose catalogue and users are taken too;
        or else the name of an official data set, which is fetched
        and kept (see :func:`streamer_producers.download.fetch`).
    mapping
        Where the fields of an event are, see :func:`streamer_producers.mapping.parse_mapping`;
        None: under their own names, and the unit of times is guessed. MovieLens needs none.
    event_type
        Makes all events of one type.
    types
        The types that are known (``Config.event_types``), where ``mapping`` does not say them;
        None: the default ones.
    strict
        Stop at the first malformed line, instead of counting it.
    sort
        In the order of time. None: only MovieLens, whose files are in the order of the users, and
        several logs of a folder.
    items
        A file of items, see :func:`open_described`; None: MovieLens has its own.
    users
        A file of users, see :func:`open_described`.
    file_format, delimiter, encoding
        Of a file, where its suffix and its first line don't say them; see
        :func:`streamer_producers.tables.open_table`.
    timeless
        Take records without a time, as events of 1970, to which a time is given later.
    files
        What the configuration says of files (``Config.files``): what is not given above is taken
        from the table of this one.
    cache, base_url, show_progress
        Of a data set that is fetched.

    Raises
    ------
    ConfigError
        When there is no such log, its format is unknown, or it lacks a column.
    """
    flags = _Flags(
        mapping, event_type, types or EventTypes(), file_format, delimiter, encoding, timeless
    )
    path, name = spooled(path_or_name)
    if path.is_dir() and layout_of(files_in(path)) is None:
        logs, items, users = _described(path, files or {}, items, users)
        if len(logs) > 1:
            return Log(
                path.resolve().name,
                [_events_of(each, each.name, flags.of(each.name, files)) for each in logs],
                sort=sort is not False,
                strict=strict,
                catalogue=None if items is None else _described_file(items, "items", files),
                users=None if users is None else _described_file(users, "users", files),
            )
        (path,) = logs
        name = path.name
    flags = flags.of(name, files)
    if not path.exists():
        if str(path_or_name) not in DATASETS:
            raise ConfigError(
                f"{path} is no file or folder, and no data set that can be fetched; these are"
                f" {', '.join(DATASETS)}"
            )
        path = fetch(str(path_or_name), cache=cache, base_url=base_url, show_progress=show_progress)
    catalogue = None if items is None else _described_file(items, "items", files)
    of_users = None if users is None else _described_file(users, "users", files)
    fields = flags.fields()
    if _is_movielens(path, fields):
        return _movielens(
            path,
            fields or replace(MAPPING, types=flags.types),
            flags.event_type,
            strict,
            sort,
            catalogue,
            of_users,
        )
    return Log(
        name,
        [_events_of(path, name, flags)],
        sort=bool(sort),
        strict=strict,
        catalogue=catalogue,
        users=of_users,
    )


@dataclass(frozen=True, slots=True)
class _Flags:
    """How a file of events is read; see :func:`open_log`."""

    mapping: str | FieldMapping | None
    event_type: str | None
    types: EventTypes
    file_format: str | None
    delimiter: str | None
    encoding: str | None
    timeless: bool

    def of(self, name: str, files: Mapping[str, FileConfig] | None) -> _Flags:
        """Return these, and of what they do not say what the table of a file says."""
        table = file_table(files or {}, name, "events")
        if table is None:
            return self
        return replace(
            self,
            mapping=table.map if self.mapping is None else self.mapping,
            event_type=self.event_type or table.type or None,
            file_format=self.file_format or table.format or None,
            delimiter=self.delimiter or table.delimiter or None,
            encoding=self.encoding or table.encoding or None,
        )

    def fields(self) -> FieldMapping | None:
        """Return the mapping; None: it is not said."""
        if isinstance(self.mapping, str):
            return parse_mapping(self.mapping, self.types)
        return self.mapping


def _events_of(path: Path, name: str, flags: _Flags) -> LogFileEvents:
    fields = flags.fields() or FieldMapping(types=flags.types)
    chosen = replace(fields, timeless=flags.timeless).with_type(flags.event_type)
    records = open_table(
        path,
        chosen,
        name=name,
        file_format=flags.file_format,
        delimiter=flags.delimiter,
        encoding=flags.encoding,
    )
    return LogFileEvents(
        name,
        records.records,
        chosen,
        n_estimated=records.n_estimated,
        is_text=records.is_text,
        gone=LogFile(path).gone,
    )


def _described(
    folder: Path,
    files: Mapping[str, FileConfig],
    items: str | Path | None,
    users: str | Path | None,
) -> tuple[list[Path], str | Path | None, str | Path | None]:
    """Return the event logs of a folder, its catalogue and its users, as the configuration has
    them; ``items`` and ``users`` where they are given."""
    names = sorted(each.name for each in folder.iterdir() if each.is_file())
    logs, catalogues, of_users = (
        [folder / name for name in names if file_table(files, name, holds)] for holds in HOLDS
    )
    if not logs:
        layouts = ", ".join(each.ratings for each in LAYOUTS)
        others = ", ".join(each.name for each in (*catalogues, *of_users))
        raise ConfigError(
            f"{folder} holds no MovieLens ({layouts}), and no event log that [files.NAME] describes"
            + (f", but {others}: pass the file of a log itself" if others else "")
            + ("" if others else f": `streamer import {folder}` first")
        )
    for found, given, what in ((catalogues, items, "items"), (of_users, users, "users")):
        if len(found) > 1 and given is None:
            raise ConfigError(
                f"{folder} has several files of {what} that [files.NAME] describes:"
                f" {', '.join(each.name for each in found)}; name one with --{what} FILE"
            )
    return logs, items or next(iter(catalogues), None), users or next(iter(of_users), None)


def read_with(log: str | Path, files: Mapping[str, FileConfig]) -> list[Path]:
    """Return the paths from which :func:`open_log` reads a log of this name, if they are there: a
    folder stands for its files, where ``files`` does not name them."""
    path = Path(log)
    if path.is_dir():
        described = [
            each
            for each in path.iterdir()
            if any(file_table(files, each.name, holds) is not None for holds in HOLDS)
        ]
        return [path, *described]
    # Their catalogue lies beside them.
    return [path, path.parent] if path.name in {each.ratings for each in LAYOUTS} else [path]


def open_described(
    *,
    items: str | Path | None = None,
    users: str | Path | None = None,
    strict: bool = False,
    files: Mapping[str, FileConfig] | None = None,
) -> Log:
    """Open a file of items, one of users, or both, as a log without events.

    Parameters
    ----------
    items, users
        In any format of :func:`open_log`. Where the fields are is said by the file's table among
        ``files``, see :func:`streamer_producers.descriptions.parse_description_mapping`; else they
        have their own names.

    Raises
    ------
    ConfigError
        When there is no such file, its format is unknown, or it lacks a column.
    """
    return Log(
        Path(str(items or users)).name,
        [],
        sort=False,
        strict=strict,
        catalogue=None if items is None else _described_file(items, "items", files),
        users=None if users is None else _described_file(users, "users", files),
    )


def movielens_in(path: Path) -> bool:
    """Return whether a folder, an archive or a file is MovieLens, which needs no mapping."""
    if path.is_file() and path.suffix != ".zip":
        return _is_movielens(path, None)
    files = files_in(path, wanted=FILES)
    layout = layout_of(files)
    return layout is not None and _is_movielens(files[layout.ratings].path, None)


def _is_movielens(path: Path, mapping: FieldMapping | None) -> bool:
    if path.is_dir() or path.suffix == ".zip":
        return True
    if mapping is not None or path.name not in {layout.ratings for layout in LAYOUTS}:
        return False
    if path.name != "ratings.csv":
        return True
    header = next(LogFile(path).lines(), (0, b""))[1]
    return header.decode(errors="replace").strip() == ",".join(RATINGS_COLUMNS)


def _movielens(
    path: Path,
    mapping: FieldMapping,
    event_type: str | None,
    strict: bool,
    sort: bool | None,
    catalogue: tuple[str, Descriptions] | None,
    users: tuple[str, Descriptions] | None,
) -> Log:
    is_one = path.is_file() and path.suffix != ".zip"
    files = files_in(path.parent if is_one else path, wanted=FILES)
    layout = layout_of({path.name: files[path.name]} if path.name in files else files)
    if layout is None:
        names = ", ".join(each.ratings for each in LAYOUTS)
        raise ConfigError(f"{path} holds no MovieLens ({names}); pass the file of a log itself")
    ratings, movies, name = files[layout.ratings], files.get(layout.movies), layout.movies
    if catalogue is None and movies is not None:
        catalogue = (name, lambda: layout.items(movies))
    name_of_ratings = ratings.path.name if ratings.member else layout.ratings
    events = LogFileEvents(
        name_of_ratings,
        lambda: layout.rating_records(ratings),
        mapping.with_type(event_type),
        n_estimated=ratings.n_lines_estimated(),
    )
    return Log(
        name_of_ratings,
        [events],
        sort=sort is not False,
        strict=strict,
        catalogue=catalogue,
        users=users,
    )


def _described_file(
    path_or_name: str | Path, holds: Holds, files: Mapping[str, FileConfig] | None
) -> tuple[str, Descriptions]:
    path, name = spooled(path_or_name)
    if not path.is_file():
        raise ConfigError(f"{path_or_name} is no file; name one of {holds}, a JSON object a line")
    table = file_table(files or {}, name, holds) or FileConfig()
    mapping = parse_description_mapping(table.map, DESCRIBED[holds])
    records = open_table(
        path,
        mapping,
        name=name,
        file_format=table.format or None,
        delimiter=table.delimiter or None,
        encoding=table.encoding or None,
    )
    first = islice(records.records(), SAMPLE_RECORDS)
    mapper = DescriptionMapper(
        mapping,
        is_text=records.is_text,
        sample=[record for _, record in first if isinstance(record, dict)],
    )

    def descriptions() -> Iterator[tuple[int, Item | User | BadMessage]]:
        for line, record in records.records():
            try:
                yield line, record if isinstance(record, BadMessage) else mapper.described(record)
            except BadMessage as error:
                yield line, error

    return name, descriptions
