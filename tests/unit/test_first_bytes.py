"""A file whose name says text and whose bytes are something else is read as that, or named."""

from __future__ import annotations

import gzip
import io
import pickle
import random
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamer.config import Config
from streamer.errors import ConfigError
from streamer_producers.datasets import open_log
from streamer_producers.first_bytes import wide_encoding
from streamer_producers.import_plan import plan_import
from streamer_producers.planned_file import ReadingFlags

AT = 1_760_000_000_000
CLICKS = "user_id,item_id,ts,type\n" + "".join(f"u{n},i{n},{AT + n},click\n" for n in range(40))


def archive_of(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), "<a/>")  # of the same bytes at any time
    return content.getvalue()


def database() -> bytes:
    with sqlite3.connect(":memory:") as made:
        made.execute("CREATE TABLE events (user_id)")
        return made.serialize()


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".jsonl", ".xlsx", ""])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            archive_of("[Content_Types].xml", "xl/workbook.xml"),
            r"Excel \(.xlsx\); export its table",
        ),
        (archive_of("mimetype", "content.xml"), "LibreOffice; export its table as CSV"),
        (archive_of("a.csv", "b.csv"), "a zip archive; unpack it"),
        (archive_of("a.csv")[:-30], "a zip archive that is cut or damaged; get it again"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 99, r"Excel \(.xls\); export"),
        (database(), "a SQLite database; export its table as CSV"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF; export"),
        (b"BZh91AY&SY", "compressed with bzip2; unpack it, or compress it with gzip"),
        (b"<!DOCTYPE html>\n<html>", "a web page; it may be that of a login"),
        (pickle.dumps([1, 2]), "a pickle of Python; write it as CSV"),
        (random.Random(5).randbytes(4_000), "its bytes are no text; write it as CSV"),
    ],
)
def test_what_is_no_text_is_named_with_what_to_do(
    tmp_path: Path, suffix: str, content: bytes, said: str
) -> None:
    path = tmp_path / f"log{suffix}"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        open_log(path)
    with pytest.raises(ConfigError, match=said):
        plan_import([str(path)], Config(), ReadingFlags(), reading=lambda name: None)
    path.write_bytes(gzip.compress(content))
    if content.startswith(b"PK"):
        said = "it is a zip archive; unpack it"
    with pytest.raises(ConfigError, match=said):
        open_log(path)


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.txt", "log"])
@pytest.mark.parametrize(
    "packed",
    [
        str.encode,
        lambda text: gzip.compress(text.encode()),
        lambda text: pa.compress(text.encode(), "zstd", asbytes=True),
    ],
)
def test_compression_is_that_of_the_bytes_whatever_the_name(
    tmp_path: Path, name: str, packed: Callable[[str], bytes]
) -> None:
    (tmp_path / name).write_bytes(packed(CLICKS))
    log = open_log(tmp_path / name)
    assert [event.ts for event in log.events()] == [AT + n for n in range(40)]
    assert log.n_malformed == 0
    assert log.n_estimated in (None, 40, 41)


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.data"])
def test_parquet_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    columns = {"user_id": ["ann"], "item_id": ["tea"], "ts": [AT], "type": ["click"]}
    pq.write_table(pa.table(columns), tmp_path / name)
    assert [event.user_id for event in open_log(tmp_path / name).events()] == ["ann"]
    with pytest.raises(ConfigError, match="it is Parquet; name it so with --format parquet"):
        open_log(tmp_path / name, file_format="csv")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("user", ["u", "\u0438\u0432\u0430\u043d", "\u6f22\u5b57"])
def test_wide_text_without_a_mark_names_its_encoding(
    tmp_path: Path, encoding: str, user: str
) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(CLICKS.replace("u", user).replace(f"{user}ser_id", "user_id").encode(encoding))
    with pytest.raises(ConfigError, match=f"it is text in {encoding} .* --encoding {encoding}$"):
        open_log(path)
    assert len(list(open_log(path, encoding=encoding).events())) == 40


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann,tea,1,click\n" * 99,
        "ann\x01tea\x01" * 99,  # Hive
        "ann,tea\n" * 20 + "\0" * 4_096 + "ann,tea\n" * 20,
        "\0" * 4_096,
        "\u6f22\u5b57,\u6f22\n" * 99,
    ],
)
def test_other_text_is_no_wide_one_and_no_other_kind(tmp_path: Path, text: str) -> None:
    assert wide_encoding(text.encode()) is None
    (tmp_path / "log.csv").write_text("user_id,item_id,ts,type\n" + text)
    open_log(tmp_path / "log.csv")
