"""Write a topic to a log file, to be replayed."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from streamer.application.topic_log import TopicLog
from streamer.errors import ConfigError
from streamer_producers.arrow import import_pyarrow
from streamer_producers.gone_messages import GoneMessages, note_beside, write_note

_REPORT_EVERY = 1_000


def record(log: TopicLog, path: Path, *, progress: Callable[[int], None] | None = None) -> int:
    """Write every message of a topic as a line of JSON; return how many there were.

    The file appears under its name when it is complete: what is there already is replaced then.
    What the topic no longer had is written beside it, for who reads the file.

    Parameters
    ----------
    path
        Ends with ``.jsonl``, ``.jsonl.gz`` or ``.jsonl.zst``.
    progress
        Told now and then how many were written.

    Raises
    ------
    ConfigError
        When the file can't be written.
    BadMessage, KafkaError
        As reading the topic raises them.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    n_written = 0
    try:
        try:
            with _opened(unfinished, path.suffix) as file:
                for n_written, payload in enumerate(log.payloads(), 1):
                    file.write(payload + b"\n")
                    if progress is not None and n_written % _REPORT_EVERY == 0:
                        progress(n_written)
            if log.gone:
                # Before the file: one that lacks something is never there without what says so.
                write_note(path, GoneMessages(" ".join(log.gone), log.whole_since_ms))
            os.replace(unfinished, path)
            if not log.gone:
                note_beside(path).unlink(missing_ok=True)  # of a file that was there before
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path} can't be written ({error})") from error
    return n_written


@contextmanager
def _opened(path: Path, suffix: str) -> Iterator[IO[bytes]]:
    if suffix == ".gz":
        with gzip.open(path, "wb") as zipped:
            yield cast(IO[bytes], zipped)
    elif suffix == ".zst":
        pyarrow = import_pyarrow(f"writing {suffix}")
        with pyarrow.output_stream(path, compression="zstd") as stream:
            yield cast(IO[bytes], stream)
    elif suffix in (".jsonl", ".ndjson", ".json"):
        with path.open("wb") as file:
            yield file
    else:
        raise ConfigError(
            f"format {suffix!r} is unknown; end the file's name with .jsonl, .jsonl.gz or"
            " .jsonl.zst"
        )
