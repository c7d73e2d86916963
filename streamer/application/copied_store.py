"""Copy the store of the configuration to a file, and a file to it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from streamer.application.starting import configured_store
from streamer.config import Config
from streamer.store import open_store
from streamer.store.copying import copy_store


def export_store(config: Config, file: Path) -> dict[int, int]:
    """Copy the configured store to a file that is not there yet.

    Returns
    -------
    dict
        Partition → version of its last commit.

    Raises
    ------
    StoreError
        When the store does not answer, has nothing, or is being learned into.
    """
    with (
        contextlib.closing(configured_store(config)) as source,
        contextlib.closing(open_store(f"sqlite:{file}")) as target,
    ):
        return copy_store(source, target)


def import_store(config: Config, file: Path) -> dict[int, int]:
    """Copy a file to the configured store, which must be empty.

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
