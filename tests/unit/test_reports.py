"""Reports say what they are, and a folder gives out nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamer.errors import ConfigError
from streamer.reports import folder as folders
from streamer.reports.folder import ReportFolder
from streamer.reports.frame import Origin, ReportHead, head_of, page


def head(title: str, at_ms: int = 1_700_000_000_000) -> ReportHead:
    command = f"streamer replay log.jsonl --report '{title}.html'"
    return ReportHead(kind="replay", title=title, origin=Origin(command=command, at_ms=at_ms))


def report_page(title: str, at_ms: int = 1_700_000_000_000) -> str:
    """A report without a result."""
    return page(head(title, at_ms), "<p>summary</p>", "<p>body</p>")


def test_a_report_says_what_it_is_whatever_its_title_holds() -> None:
    title = 'a "b" </title><script>alert(1)</script> & \N{SNOWMAN}'
    text = report_page(title)
    assert head_of(text.encode()) == head(title)
    assert "<script" not in text
    assert "Written 2023-11-14 22:13 UTC by <code>streamer replay log.jsonl --report " in text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html><title>a page of elsewhere</title>",
        '<meta name="streamer-report" content="not JSON">',
        '<meta name="streamer-report" content="{}">',
        report_page("t").replace("&quot;replay&quot;", "&quot;poem&quot;"),
        report_page("t", at_ms=0).replace(":0}", ":253402300800000}"),
        report_page("t").replace("<meta", " " * 70_000 + "<meta"),
    ],
)
def test_what_streamer_did_not_write_is_no_report(text: str) -> None:
    assert head_of(text.encode()) is None


def test_a_folder_lists_the_newest_first_by_when_they_were_made(tmp_path: Path) -> None:
    for title, at_ms in (("old", 1), ("new", 3), ("middle", 2)):
        (tmp_path / f"{title}.html").write_text(report_page(title, at_ms))
    (tmp_path / "elsewhere.html").write_text("<p>not ours</p>")
    (tmp_path / "result.json").write_text("{}")
    found = ReportFolder(str(tmp_path)).listed()
    assert [each.name for each in found.reports] == ["new.html", "middle.html", "old.html"]
    assert [each.head.title for each in found.reports] == ["new", "middle", "old"]
    assert (found.n_foreign, found.n_older) == (1, 0)


def test_a_folder_of_very_many_is_read_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "LISTED_MAX", 2)
    for n in range(3):
        file = tmp_path / f"{n}.html"
        file.write_text(report_page(str(n), n))
        os.utime(file, (n, n))
    found = ReportFolder(str(tmp_path)).listed()
    assert [each.name for each in found.reports] == ["2.html", "1.html"]
    assert found.n_older == 1


def test_nothing_but_a_report_directly_in_the_folder_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside, inside = tmp_path / "outside.html", tmp_path / "reports"
    outside.write_text(report_page("outside"))
    (inside / "sub").mkdir(parents=True)
    for name in ("own.html", ".hidden.html", "sub/below.html", "own.htm"):
        (inside / name).write_text(report_page(name))
    (inside / "link.html").symlink_to(outside)
    (inside / "folder.html").mkdir()
    os.mkfifo(inside / "pipe.html")  # reading it would wait for who writes into it
    folder = ReportFolder(str(inside))
    content = folder.read("own.html")
    assert content is not None
    assert content.decode() == report_page("own.html")
    names = ("../outside.html", "..\\outside.html", "sub/below.html", "./own.html", "link.html")
    kinds = ("folder.html", "pipe.html", ".hidden.html", "own.htm", "none.html", "", "..")
    whole = (str(outside), "own.html\0", "own.html\n", "\udcff.html", "x" * 300 + ".html")
    for name in (*names, *kinds, *whole):
        assert folder.read(name) is None, name
    assert [each.name for each in folder.listed().reports] == ["own.html"]
    monkeypatch.setattr(folders, "REPORT_BYTES_MAX", len(content) - 1)
    assert folder.read("own.html") is None


def test_a_folder_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"http\.reports.*No such file.*make the folder"):
        ReportFolder(str(tmp_path / "none")).listed()
