"""A folder for each worker of a machine, and the same one again after a restart."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from streamer.errors import StoreError


@contextlib.contextmanager
def worker_folder(base: Path) -> Iterator[Path]:
    """The first of ``worker-0``, ``worker-1``, … in ``base`` that no running worker has.

    A lock marks it as taken, which the kernel lets go of when the process ends, however it does.
    So there are as many as have run at a time. That a worker finds what another one left does no
    harm: how far it is stands in it.

    Raises
    ------
    StoreError
        Where the folder can't be made or written to.
    """
    with contextlib.ExitStack() as stack:
        try:
            for number in count():
                folder = base / f"worker-{number}"
                folder.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context((folder / "lock").open("w"))
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
        except OSError as error:
            raise StoreError(
                f"{base} can't be used: {error}. Make windows.store_folder a folder on a local"
                " disk that this user may write to"
            ) from error
        yield folder
