"""Open a log, whatever its format: files of many kinds, MovieLens, official data sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
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
from streamer_producers.log import Descriptions, Log, Malformed
from streamer_producers.log_file import LogFile, files_in, spooled
from streamer_producers.mapping import FieldMapping, parse_mapping
from streamer_producers.movielens import LAYOUTS, MAPPING, RATINGS_COLUMNS, layout_of
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
        a folder with one event log among ``files``, whose catalogue and users are taken too;
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
        In the order of time. None: only MovieLens, whose files are in the order of the users.
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
    fields, types = None, types or EventTypes()
    path, name = spooled(path_or_name)
    if path.is_dir() and layout_of(files_in(path)) is None:
        path, catalogue_there, users_there = _described(path, files or {})
        name, items, users = path.name, items or catalogue_there, users or users_there
    table = file_table(files or {}, name, "events")
    if table is not None:
        mapping = table.map if mapping is None else mapping
        event_type = event_type or table.type or None
        file_format = file_format or table.format or None
        delimiter = delimiter or table.delimiter or None
        encoding = encoding or table.encoding or None
    if isinstance(mapping, FieldMapping):
        fields = mapping
    elif mapping is not None:
        fields = parse_mapping(mapping, types)
    if not path.exists():
        if str(path_or_name) not in DATASETS:
            raise ConfigError(
                f"{path} is no file or folder, and no data set that can be fetched; these are"
                f" {', '.join(DATASETS)}"
            )
        path = fetch(str(path_or_name), cache=cache, base_url=base_url, show_progress=show_progress)
    catalogue = None if items is None else _described_file(items, "items", files)
    of_users = None if users is None else _described_file(users, "users", files)
    if _is_movielens(path, fields):
        return _movielens(
            path,
            fields or replace(MAPPING, types=types),
            event_type,
            strict,
            sort,
            catalogue,
            of_users,
        )
    chosen = replace(fields or FieldMapping(types=types), timeless=timeless).with_type(event_type)
    records = open_table(
        path, chosen, name=name, file_format=file_format, delimiter=delimiter, encoding=encoding
    )
    return Log(
        name,
        records.records,
        chosen,
        n_estimated=records.n_estimated,
        sort=bool(sort),
        strict=strict,
        is_text=records.is_text,
        catalogue=catalogue,
        users=of_users,
    )


def _described(
    folder: Path, files: Mapping[str, FileConfig]
) -> tuple[Path, Path | None, Path | None]:
    """Return the event log of a folder, its catalogue and its users, as the configuration has
    them."""
    names = sorted(each.name for each in folder.iterdir() if each.is_file())
    logs, catalogues, users = (
        [folder / name for name in names if file_table(files, name, holds)] for holds in HOLDS
    )
    if len(logs) != 1 or len(catalogues) > 1 or len(users) > 1:
        found = ", ".join(each.name for each in (*logs, *catalogues, *users))
        layouts = ", ".join(each.ratings for each in LAYOUTS)
        raise ConfigError(
            f"{folder} holds no MovieLens ({layouts}), and of the files that [files.NAME] describes"
            f" {found or 'none'}: pass the file of a log itself, and its catalogue as --items, or"
            f" `streamer import {folder}` first"
        )
    return logs[0], next(iter(catalogues), None), next(iter(users), None)


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
        lambda: iter(()),
        FieldMapping(time_unit="ms"),
        n_estimated=0,
        sort=False,
        strict=strict,
        catalogue=None if items is None else _described_file(items, "items", files),
        users=None if users is None else _described_file(users, "users", files),
    )


def movielens_in(path: Path) -> bool:
    """Return whether a folder, an archive or a file is MovieLens, which needs no mapping."""
    if path.is_file() and path.suffix != ".zip":
        return _is_movielens(path, None)
    files = files_in(path)
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
    files = files_in(path.parent if path.is_file() and path.suffix != ".zip" else path)
    layout = layout_of({path.name: files[path.name]} if path.name in files else files)
    if layout is None:
        names = ", ".join(each.ratings for each in LAYOUTS)
        raise ConfigError(f"{path} holds no MovieLens ({names}); pass the file of a log itself")
    ratings, movies, name = files[layout.ratings], files.get(layout.movies), layout.movies
    if catalogue is None and movies is not None:
        catalogue = (name, lambda: layout.items(movies))
    return Log(
        ratings.path.name if ratings.member else layout.ratings,
        lambda: layout.rating_records(ratings),
        mapping.with_type(event_type),
        n_estimated=ratings.n_lines_estimated(),
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
