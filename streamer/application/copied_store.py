"""Copy the store of the configuration to a file, and a file to it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from streamer.application.starting import configured_store
from streamer.config import Config
from streamer.errors import ConfigError
from streamer.store import open_store
from streamer.store.copying import copy_store
from streamer.store.sqlite_on_disk import logs_of


def export_store(config: Config, file: Path) -> dict[int, int]:
    """Copy the configured store to a file that is not there yet.

    The file appears under its name when it is complete.

    Returns
    -------
    dict
        Partition → version of its last commit.

    Raises
    ------
    ConfigError
        When the file, or the log of one that had its name, is there.
    StoreError
        When the store does not answer, has nothing, or is being learned into.
    """
    for there in (file, *logs_of(file)):
        if there.exists():
            raise ConfigError(f"{there} is there already; name a file that is not, or delete it")
    unfinished = file.with_name(f".{file.name}.unfinished")
    _delete(unfinished)  # of an export that was cut short
    try:
        with (
            contextlib.closing(configured_store(config)) as source,
            contextlib.closing(open_store(f"sqlite:{unfinished}")) as target,
        ):
            versions = copy_store(source, target)
        unfinished.rename(file)  # its log went with its last connection
    except OSError as error:
        raise ConfigError(f"{file} can't be written ({error})") from error
    finally:
        _delete(unfinished)
    return versions


def _delete(file: Path) -> None:
    for each in (file, *logs_of(file)):
        each.unlink(missing_ok=True)


def import_store(config: Config, file: Path) -> dict[int, int]:
    """Copy a file to the configured store, which must be empty, or have a part of the same file
    since this was cut short.

    Returns
    -------
    dict
        Partition → version of its last commit.

    Raises
    ------
    StoreError
        When the file is no store, or that of the configuration does not answer or is not empty.
    """
    with (
        contextlib.closing(open_store(f"sqlite:{file}")) as source,
        contextlib.closing(configured_store(config)) as target,
    ):
        return copy_store(source, target)
