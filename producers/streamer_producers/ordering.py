"""Events in the order of their times, however many there are."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from tempfile import TemporaryFile
from typing import IO

import msgspec

from streamer.events import Event, encode

RUN_EVENTS = 250_000
"""Events sorted in memory at a time: 250,000 * 400 B = 100 MB."""

_decoder = msgspec.json.Decoder(Event)
"""Of events that have been checked already."""


def sorted_by_time(events: Iterable[Event], *, run_events: int = RUN_EVENTS) -> Iterator[Event]:
    """``events`` by rising ``ts``; those of one time stay in their order.

    Memory: as of :func:`merged_by_time`.
    """
    return (event for _, event in merged_by_time([events], run_events=run_events))


def merged_by_time(
    sources: Sequence[Iterable[Event]], *, run_events: int = RUN_EVENTS
) -> Iterator[tuple[int, Event]]:
    """Yield the events of several sources by rising ``ts``, each with the index of its source.

    Of one time, those of the first source come first, in its order. An external merge sort: what is
    more than ``run_events`` is sorted in runs, each run is written to a temporary file, and the
    files are merged. Memory: one run, and a line of each file.
    """
    unsorted = ((index, event) for index, source in enumerate(sources) for event in source)
    last = sorted(islice(unsorted, run_events), key=_by_time)
    with ExitStack() as stack:
        runs: list[Iterator[tuple[int, Event]]] = []
        while following := sorted(islice(unsorted, run_events), key=_by_time):
            file = stack.enter_context(TemporaryFile())
            _write(file, last)
            runs.append(_read(file))
            last = following
        # Of equal times the merge takes the earlier run's first.
        yield from heapq.merge(*runs, last, key=_by_time)


def _by_time(found: tuple[int, Event]) -> int:
    return found[1].ts


def _write(file: IO[bytes], found: list[tuple[int, Event]]) -> None:
    file.writelines(b"%d %b\n" % (index, encode(event)) for index, event in found)
    file.seek(0)


def _read(file: IO[bytes]) -> Iterator[tuple[int, Event]]:
    for line in file:
        index, _, event = line.partition(b" ")
        yield int(index), _decoder.decode(event)
