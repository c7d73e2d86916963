"""The three ways in which GroupLens has laid out MovieLens (Harper & Konstan 2015)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from streamer.errors import BadMessage
from streamer.events import Item, decode_item
from streamer_producers.formats import Records
from streamer_producers.log_file import LogFile
from streamer_producers.mapping import FieldMapping
from streamer_producers.separated import separated_records

MAPPING: Final = FieldMapping(
    columns={
        "user_id": "userId",
        "item_id": "movieId",
        "ts": "timestamp",
        "value": "rating",
        "context": "",
    },
    time_unit="s",
    event_type="rating",
)
"""Ratings as events; times are in seconds since 1970."""
RATINGS_COLUMNS: Final = ("userId", "movieId", "rating", "timestamp")

# The genres of ml-100k, whose movies have a column of 0 or 1 for each.
_GENRES_100K: Final = (
    *("unknown", "Action", "Adventure", "Animation", "Children", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_NO_GENRES: Final = {"", "unknown", "(no genres listed)"}
_YEAR = re.compile(r"\((\d{4})\)\s*$")


@dataclass(frozen=True, slots=True)
class MovieLensLayout:
    """One way: the names of its files, and how a line is divided."""

    ratings: str
    ratings_delimiter: str
    movies: str
    movies_delimiter: str
    has_header: bool = False
    quoted: bool = False
    movies_columns: Sequence[str] = ("movieId", "title", "genres")

    def rating_records(self, file: LogFile) -> Records:
        """The ratings, in the order of the file: by user."""
        columns = None if self.has_header else RATINGS_COLUMNS
        return separated_records(
            file, delimiter=self.ratings_delimiter, columns=columns, quoted=self.quoted
        )

    def items(self, file: LogFile) -> Iterator[tuple[int, Item | BadMessage]]:
        """The movies: title, genres as categories, ``attributes.year`` where the title tells."""
        records = separated_records(
            file,
            delimiter=self.movies_delimiter,
            columns=None if self.has_header else self.movies_columns,
            quoted=self.quoted,
            fallback_encoding="latin-1",  # of all but the newer data sets
        )
        for line, record in records:
            if isinstance(record, BadMessage):
                yield line, record
                continue
            try:
                yield line, _item(record)
            except BadMessage as error:
                yield line, error


LAYOUTS: Final = (
    # ml-latest, ml-latest-small, ml-20m and newer
    MovieLensLayout("ratings.csv", ",", "movies.csv", ",", has_header=True, quoted=True),
    # ml-1m, ml-10m
    MovieLensLayout("ratings.dat", "::", "movies.dat", "::"),
    MovieLensLayout(
        "u.data",
        "\t",
        "u.item",
        "|",
        movies_columns=("movieId", "title", "released", "video", "url", *_GENRES_100K),
    ),
)
FILES: Final = frozenset(name for each in LAYOUTS for name in (each.ratings, each.movies))
"""Names of the files that are read."""


def layout_of(files: Mapping[str, LogFile]) -> MovieLensLayout | None:
    """The layout whose ratings are among ``files``."""
    return next((layout for layout in LAYOUTS if layout.ratings in files), None)


def _item(record: Mapping[str, object]) -> Item:
    title = str(record.get("title", "")).strip()
    if "genres" in record:
        genres = str(record["genres"]).split("|")
    else:
        genres = [genre for genre in _GENRES_100K if record.get(genre) == "1"]
    fields: dict[str, object] = {"item_id": record.get("movieId")}
    if title:
        fields["title"] = title
    if categories := [genre for genre in genres if genre not in _NO_GENRES]:
        fields["categories"] = categories
    if year := _YEAR.search(title):
        fields["attributes"] = {"year": int(year[1])}
    return decode_item(msgspec.json.encode(fields))
