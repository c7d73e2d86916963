"""The formats of logs that are there for replay's sake: Zstandard, `::`, and topics."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from streamer.errors import ConfigError
from streamer_producers.datasets import open_log
from tests.unit.movielens import RATINGS, ratings, seen

MAPPING = "user_id=userId,item_id=movieId,ts=timestamp:s,value=rating"
IN_FILE_ORDER = list(RATINGS)


def compressed(path: Path, text: str, n_frames: int = 1) -> Path:
    lines = text.splitlines(keepends=True)
    with path.open("wb") as file:
        for frame in range(n_frames):
            part = "".join(lines[frame::n_frames]).encode()
            file.write(pa.compress(part, codec="zstd", asbytes=True))
    return path


@pytest.mark.parametrize("n_frames", [1, 2])
def test_zstandard_is_read_whatever_its_frames(tmp_path: Path, n_frames: int) -> None:
    path = compressed(tmp_path / "log.dat.zst", "userId::movieId::rating::timestamp\n")
    rows = compressed(tmp_path / "rows", ratings("::"), n_frames)
    path.write_bytes(path.read_bytes() + rows.read_bytes())
    log = open_log(path, mapping=MAPPING, event_type="rating")
    assert sorted(seen(log.events())) == sorted(IN_FILE_ORDER)
    assert log.n_estimated is None


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_zstandard_that_is_damaged_says_so(tmp_path: Path, damage: str) -> None:
    path = compressed(tmp_path / "log.jsonl.zst", "{}\n" * 10_000)
    path.write_bytes(path.read_bytes()[:20] if damage == "cut" else bytes(range(256)))
    with pytest.raises(ConfigError, match=r"log\.jsonl\.zst(:| can't be read)"):
        list(open_log(path).events())


def test_values_between_colons_have_names_in_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "log.dat"
    path.write_text("userId::movieId::rating::timestamp\n" + ratings("::"))
    log = open_log(path, mapping=MAPPING, event_type="rating")
    assert seen(log.events()) == IN_FILE_ORDER


def test_movielens_read_with_a_mapping_has_its_names(tmp_path: Path) -> None:
    path = tmp_path / "ratings.dat"
    path.write_text(ratings("::"))
    log = open_log(path, mapping=MAPPING, event_type="click", sort=True)
    assert [event.type for event in log.events()] == ["click"] * 4
    assert log.n_malformed == 0


def test_a_time_beyond_all_numbers_is_a_malformed_line(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("userId,movieId,rating,timestamp\n1,2,3,9e999999\n1,2,3,7\n")
    log = open_log(path, mapping=MAPPING, event_type="rating")
    assert [event.ts for event in log.events()] == [7_000]
    assert [each.line for each in log.malformed] == [2]


def test_gzip_is_read_whatever_its_members_and_says_where_it_ends_too_early(tmp_path: Path) -> None:
    rows = [b"userId::movieId::rating::timestamp\n", ratings("::").encode()]
    path = tmp_path / "log.dat.gz"

    def read() -> list[object]:
        log = open_log(path, mapping=MAPPING, event_type="rating")
        return list(seen(log.events()))

    path.write_bytes(b"".join(gzip.compress(each) for each in rows))
    assert read() == IN_FILE_ORDER
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 20])
    with pytest.raises(ConfigError, match=r"log\.dat\.gz .*end-of-stream"):
        read()
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ConfigError, match=r"log\.dat\.gz: it is a pointer of Git LFS"):
        read()


def test_python_values_are_malformed_by_line_and_rows_that_repeat_are_events_of_their_own(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.jsonl"
    good = '{"user_id": "ann", "item_id": "tea", "ts": 1760000000000, "type": "click"}\n'
    path.write_text(good + good.replace('"', "'") + good.replace('"click"', "NaN") + good)
    log = open_log(path)
    ids = [event.event_id for event in log.events()]
    assert len(set(ids)) == len(ids) == 2
    assert [each.line for each in log.malformed] == [2, 3]
    again = open_log(path)
    assert [event.event_id for event in again.events()] == ids
