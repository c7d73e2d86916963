"""Zip archives are read, or refused with what to do."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from streamer.errors import ConfigError
from streamer_producers.datasets import movielens_in, open_log

RATINGS = "userId,movieId,rating,timestamp\n1,2,5.0,1760000000\n"


def _zip(path: Path, *members: tuple[str, str], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, text in members:
            archive.writestr(name, text)
    return path


def test_an_archive_with_two_files_of_ratings_is_refused(tmp_path: Path) -> None:
    two = [("ml/ratings.csv", RATINGS), ("ml/backup/ratings.csv", RATINGS)]
    for path in (_zip(tmp_path / "a.zip", *two), _zip(tmp_path / "b.zip", *two[::-1])):
        for opened in (open_log, movielens_in):
            with pytest.raises(
                ConfigError, match=r"ml/ratings\.csv.* unpack it and pass the folder"
            ):
                opened(path)
    other = [("ml/README.txt", "a"), ("README.txt", "b")]
    log = open_log(_zip(tmp_path / "c.zip", two[0], *other))
    assert [event.item_id for event in log.events()] == ["2"]


@pytest.mark.parametrize(
    ("places", "said"),
    [
        # The flags of a file, and its method of compression, in its own head and in the directory.
        ({6: 1, -38: 1}, r"a\.zip:ratings\.csv has a password .*; unpack it"),
        ({8: 9, -36: 9}, r"a\.zip:ratings\.csv is compressed in a way that .*; unpack it"),
        ({-40: 99}, r"a\.zip can't be read as a zip archive \(zip file version 9\.9"),
        ({4: 99}, None),
    ],
)
def test_archives_that_python_does_not_read_say_so(
    tmp_path: Path, places: dict[int, int], said: str | None
) -> None:
    path = _zip(tmp_path / "a.zip", ("ratings.csv", RATINGS))
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    for place, value in places.items():
        content[place if place >= 0 else directory + 46 + place] = value
    path.write_bytes(content)
    if said is None:
        assert len(list(open_log(path).events())) == 1
        return
    with pytest.raises(ConfigError, match=said):
        list(open_log(path).events())


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_damaged_archive_is_an_error_in_words(tmp_path: Path, compression: int) -> None:
    path = _zip(tmp_path / "a.zip", ("é/ratings.csv", RATINGS * 50), compression=compression)
    content = path.read_bytes()
    n_refused = 0
    for place in range(len(content)):
        for value in (0, 255, content[place] ^ 1):
            path.write_bytes(content[:place] + bytes([value]) + content[place + 1 :])
            try:
                list(open_log(path).events())
            except ConfigError:
                n_refused += 1
    assert n_refused > len(content) / 2
