"""Events in the order of their times, however many there are."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from operator import attrgetter
from tempfile import TemporaryFile
from typing import IO

import msgspec

from streamer.events import Event, encode

RUN_EVENTS = 250_000
"""Events sorted in memory at a time: 250,000 * 400 B = 100 MB."""

_by_time = attrgetter("ts")
_decoder = msgspec.json.Decoder(Event)
"""Of events that have been checked already."""


def sorted_by_time(events: Iterable[Event], *, run_events: int = RUN_EVENTS) -> Iterator[Event]:
    """``events`` by rising ``ts``; those of one time stay in their order.

    An external merge sort: what is more than ``run_events`` is sorted in runs, each run is written
    to a temporary file, and the files are merged. Memory: one run, and a line of each file.
    """
    unsorted = iter(events)
    last = sorted(islice(unsorted, run_events), key=_by_time)
    with ExitStack() as stack:
        runs: list[Iterator[Event]] = []
        while following := sorted(islice(unsorted, run_events), key=_by_time):
            file = stack.enter_context(TemporaryFile())
            _write(file, last)
            runs.append(_read(file))
            last = following
        # Of equal times the merge takes the earlier run's first.
        yield from heapq.merge(*runs, last, key=_by_time)


def _write(file: IO[bytes], events: list[Event]) -> None:
    file.writelines(encode(event) + b"\n" for event in events)
    file.seek(0)


def _read(file: IO[bytes]) -> Iterator[Event]:
    return map(_decoder.decode, file)
