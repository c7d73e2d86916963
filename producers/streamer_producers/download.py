"""Fetch an official data set once, and keep it."""

from __future__ import annotations

import http.client
import os
import urllib.request
import zipfile
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from streamer.errors import ConfigError
from streamer_producers.zip_archives import zip_archive

BASE_URL: Final = "https://files.grouplens.org/datasets/movielens"
DATASETS: Final = (
    "ml-latest-small",
    "ml-100k",
    "ml-1m",
    "ml-10m",
    "ml-20m",
    "ml-25m",
    "ml-32m",
    "ml-latest",
)
"""Names that can be fetched, each as a zip archive of that name."""
_CHUNK_BYTES = 65_536
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def cache_folder() -> Path:
    """Where data sets are kept: ``$XDG_CACHE_HOME/streamer`` or ``~/.cache/streamer``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "streamer" / "datasets"


def fetch(
    name: str,
    *,
    cache: Path | None = None,
    base_url: str = BASE_URL,
    show_progress: bool = True,
    timeout_s: float = 30.0,
) -> Path:
    """Path of the zip archive of a data set, fetched unless it is in the cache.

    The archive gets its name in the cache only when it is whole: as long as the server said, and
    every member matches its checksum.

    Parameters
    ----------
    cache
        A folder, made where it is missing; None: :func:`cache_folder`.
    base_url
        Folder of the archives, https (http on this machine alone).
    show_progress
        Whether to draw a progress bar on the standard error stream.
    timeout_s
        How long the server may be silent.

    Raises
    ------
    ConfigError
        When there is no such data set, or it can't be had whole.
    """
    if name not in DATASETS:
        raise ConfigError(f"data set {name!r} is not one of {', '.join(DATASETS)}; pass a path")
    folder = cache_folder() if cache is None else cache
    path = folder / f"{name}.zip"
    if path.exists():
        return path
    part = folder / f".{name}-{os.getpid()}.part"
    url = f"{base_url}/{name}.zip"
    _require_secure(url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            _download(url, stream, show_progress, timeout_s)
        _require_whole(part)
        part.replace(path)
    except (OSError, http.client.HTTPException, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"data set {name!r} can't be fetched from {url} ({error}); get the archive by other"
            f" means and pass its path, or put it at {path}"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return path


def _require_secure(url: str) -> None:
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if parts.scheme != "https" and not local:
        raise ConfigError(f"{url} is not fetched: use https")


def _download(url: str, stream: IO[bytes], show_progress: bool, timeout_s: float) -> None:
    with urllib.request.urlopen(url, timeout=timeout_s) as response:
        _require_secure(response.url)
        length = response.headers.get("Content-Length")
        n_bytes_expected = int(length) if length and length.isdigit() else None
        n_bytes = 0
        with _progress(show_progress) as progress:
            task = progress.add_task(url.rpartition("/")[2], total=n_bytes_expected)
            while chunk := response.read(_CHUNK_BYTES):
                stream.write(chunk)
                n_bytes += len(chunk)
                progress.update(task, completed=n_bytes)
    if n_bytes_expected not in (None, n_bytes):
        raise OSError(f"{n_bytes} of {n_bytes_expected} bytes came")


def _progress(show: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(stderr=True),
        disable=not show,
    )


def _require_whole(path: Path) -> None:
    with zip_archive(path) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise zipfile.BadZipFile(f"{broken} does not match its checksum")
