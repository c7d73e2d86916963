"""Open a log, whatever its format: files of many kinds, MovieLens, official data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from streamer.errors import BadMessage, ConfigError
from streamer.events import EventTypes, Item, decode_item
from streamer_producers.download import BASE_URL, DATASETS, fetch
from streamer_producers.formats import (
    Records,
    json_records,
    parquet_records,
    parquet_shape,
)
from streamer_producers.log import Catalogue, Log, Malformed
from streamer_producers.log_file import COMPRESSED, LogFile, files_in
from streamer_producers.mapping import FieldMapping, parse_mapping
from streamer_producers.movielens import LAYOUTS, MAPPING, RATINGS_COLUMNS, layout_of
from streamer_producers.separated import column_names, separated_records

__all__ = ["Log", "Malformed", "open_log"]

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".dat": "::"}
_JSON = (".jsonl", ".ndjson", ".json")


def open_log(
    path_or_name: str | Path,
    *,
    mapping: str | FieldMapping | None = None,
    event_type: str | None = None,
    types: EventTypes | None = None,
    strict: bool = False,
    sort: bool | None = None,
    items: str | Path | None = None,
    cache: Path | None = None,
    base_url: str = BASE_URL,
    show_progress: bool = True,
) -> Log:
    """Open a log of events.

    Parameters
    ----------
    path_or_name
        A file: ``.jsonl``, ``.csv``, ``.tsv``, ``.dat`` with ``::`` between values (each also
        with ``.gz`` or ``.zst``) or ``.parquet``; a folder or a zip archive of MovieLens, or its
        file of ratings; or else the name of an official data set, which is fetched and kept (see
        :func:`streamer_producers.download.fetch`).
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
        A file of items, JSON lines as on the topic; None: MovieLens has its own.
    cache, base_url, show_progress
        Of a data set that is fetched.

    Raises
    ------
    ConfigError
        When there is no such log, its format is unknown, or it lacks a column.
    """
    fields, types = None, types or EventTypes()
    if isinstance(mapping, FieldMapping):
        fields = mapping
    elif mapping is not None:
        fields = parse_mapping(mapping, types)
    path = Path(path_or_name)
    if not path.exists():
        if str(path_or_name) not in DATASETS:
            raise ConfigError(
                f"{path} is no file or folder, and no data set that can be fetched; these are"
                f" {', '.join(DATASETS)}"
            )
        path = fetch(str(path_or_name), cache=cache, base_url=base_url, show_progress=show_progress)
    catalogue = None if items is None else _item_file(Path(items))
    if _is_movielens(path, fields):
        return _movielens(
            path, fields or replace(MAPPING, types=types), event_type, strict, sort, catalogue
        )
    chosen = (fields or FieldMapping(types=types)).with_type(event_type)
    records, n_estimated, is_text = _table(path, chosen)
    return Log(
        path.name,
        records,
        chosen,
        n_estimated=n_estimated,
        sort=bool(sort),
        strict=strict,
        is_text=is_text,
        catalogue=catalogue,
    )


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
    catalogue: tuple[str, Catalogue] | None,
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
    )


def _table(path: Path, mapping: FieldMapping) -> tuple[Callable[[], Records], int | None, bool]:
    """How to read the records of a file, about how many there are, and whether all are text."""
    suffix = Path(path.stem).suffix if path.suffix in COMPRESSED else path.suffix
    if suffix == ".parquet":
        columns, n_rows = parquet_shape(path)
        mapping.require(columns, str(path))
        wanted = list(mapping.sources().values())
        return lambda: parquet_records(path, wanted), n_rows, False
    file = LogFile(path)
    if suffix in _JSON:
        return lambda: json_records(file), file.n_lines_estimated(), False
    delimiter = _DELIMITERS.get(suffix)
    if delimiter is None:
        known = ", ".join((*_JSON, *_DELIMITERS, ".parquet", ".zip"))
        raise ConfigError(f"{path}: format {suffix!r} is unknown; give the file one of {known}")

    # MovieLens's own files, read with another mapping, have no line of names.
    layout = layout_of({path.name: file})
    names = None if layout is None or layout.has_header else RATINGS_COLUMNS

    def records() -> Records:
        return separated_records(file, delimiter=delimiter, columns=names)

    found = names or column_names(file, delimiter=delimiter)
    if found:
        mapping.require(found, str(path))
    return records, file.n_lines_estimated(), True


def _item_file(path: Path) -> tuple[str, Catalogue]:
    def catalogue() -> Iterator[tuple[int, Item | BadMessage]]:
        for line, payload in LogFile(path).lines():
            try:
                yield line, decode_item(payload)
            except BadMessage as error:
                yield line, error

    return path.name, catalogue
