"""A data set is fetched once and whole, or not at all; the server is one of this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from streamer.errors import ConfigError
from streamer_producers.datasets import open_log
from streamer_producers.download import fetch
from tests.unit.movielens import IN_TIME_ORDER, RATINGS, seen, write_movielens, zipped


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class _Cut(_Quiet):
    """Promises more bytes than it sends."""

    def send_header(self, keyword: str, value: str) -> None:
        more = str(int(value) + 9) if keyword == "Content-Length" else value
        super().send_header(keyword, more)


@contextmanager
def _served(folder: Path, handler: type[_Quiet] = _Quiet) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "www").mkdir()
    return zipped(write_movielens(tmp_path / "www" / "ml-100k", "u"))


def test_a_named_data_set_is_fetched_once(
    tmp_path: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    with _served(archive.parent) as url:
        log = open_log("ml-100k", cache=cache, base_url=url)
    assert seen(log.events()) == IN_TIME_ORDER
    assert [path.name for path in cache.iterdir()] == ["ml-100k.zip"]
    captured = capsys.readouterr()
    assert "ml-100k.zip" in captured.err
    assert captured.out == ""
    # The server is gone.
    again = open_log("ml-100k", cache=cache, base_url=url, show_progress=False)
    assert seen(again.events()) == IN_TIME_ORDER


@pytest.mark.parametrize("damage", ["absent", "cut", "short", "checksum", "no zip"])
def test_what_does_not_come_whole_is_not_kept(tmp_path: Path, archive: Path, damage: str) -> None:
    cache = tmp_path / "cache"
    whole = archive.read_bytes()
    if damage == "absent":
        archive.unlink()
    elif damage == "cut":
        archive.write_bytes(whole[:-50])
    elif damage == "checksum":
        place = whole.index(RATINGS[0][0].encode() + b"\t10")
        archive.write_bytes(whole[:place] + b"9" + whole[place + 1 :])
    elif damage == "no zip":
        archive.write_bytes(b"<html>not here</html>")
    with (
        _served(archive.parent, _Cut if damage == "short" else _Quiet) as url,
        pytest.raises(ConfigError, match=r"ml-100k.* can't be fetched .* pass its path"),
    ):
        fetch("ml-100k", cache=cache, base_url=url, show_progress=False, timeout_s=5)
    assert list(cache.iterdir()) == []


def test_only_https_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="use https"):
        fetch("ml-100k", cache=tmp_path, base_url="http://192.0.2.1", show_progress=False)
    with pytest.raises(ConfigError, match="is not one of ml-latest-small"):
        fetch("../secret", cache=tmp_path, show_progress=False)
