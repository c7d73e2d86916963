"""A small MovieLens in each of its layouts, not in the order of time."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from streamer.events import Event

SECOND_MS = 1_000
HEADER = "userId,movieId,rating,timestamp\n"
RATINGS = [
    ("7", "10", 4.5, 300),
    ("7", "11", 3.0, 100),
    ("8", "10", 1.0, 300),
    ("8", "12", 5.0, 50),
]
IN_TIME_ORDER = [RATINGS[i] for i in (3, 1, 0, 2)]


def seen(events: Iterator[Event]) -> list[tuple[str, str, float | None, int]]:
    return [(event.user_id, event.item_id, event.value, event.ts // SECOND_MS) for event in events]


def ratings(delimiter: str) -> str:
    return "".join(delimiter.join(map(str, row)) + "\n" for row in RATINGS)


def write_movielens(folder: Path, layout: str) -> Path:
    folder.mkdir()
    if layout == "csv":
        (folder / "ratings.csv").write_text(HEADER + ratings(","))
        (folder / "movies.csv").write_text(
            'movieId,title,genres\n10,"Été, L\' (1995)",Comedy|Drama\n11,Dune,(no genres listed)\n'
        )
    elif layout == "dat":
        (folder / "ratings.dat").write_text(ratings("::"))
        movies = "10::Été, L' (1995)::Comedy|Drama\n11::Dune::\n"
        (folder / "movies.dat").write_text(movies, encoding="latin-1")
    else:
        (folder / "u.data").write_text(ratings("\t"))
        comedy_and_drama = [0, 0, 0, 0, 0, 1, 0, 0, 1, *[0] * 10]
        rows = [
            ("10", "Été, L' (1995)", "01-Jan-1995", "", "", *comedy_and_drama),
            ("11", "Dune", "", "", "", 1, *[0] * 18),
        ]
        movies = "".join("|".join(map(str, row)) + "\n" for row in rows)
        (folder / "u.item").write_text(movies, encoding="latin-1")
    return folder


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"{folder.name}/{file.name}")
    return path
