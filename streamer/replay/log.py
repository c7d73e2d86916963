"""A logged stream: surveyed once, then replayed in the order of time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import attrgetter
from typing import Literal, Protocol

import msgspec
import numpy as np

from streamer.errors import ConfigError
from streamer.events import Event, Item, User
from streamer_producers.clipped_values import Clipped, ClippedValues
from streamer_producers.common_ids import CommonIds
from streamer_producers.log import Malformed

Ties = Literal["shuffle", "file"]
TIES_MAX = 250_000
"""Events of one time that are shuffled together: 250,000 * 400 B = 100 MB."""
_REPORT_EVERY = 500

Progress = Callable[[int], None]


class EventLog(Protocol):
    """What is replayed; `Log` is one. Reading it again gives the same."""

    @property
    def name(self) -> str:
        """Of the file or topic."""

    @property
    def n_estimated(self) -> int | None:
        """About how many events there are, if that is known."""

    @property
    def n_malformed(self) -> int:
        """Lines that held no event, in the latest pass."""

    @property
    def malformed(self) -> Sequence[Malformed]:
        """The first of them."""

    @property
    def gone(self) -> Sequence[str]:
        """What it no longer had, in sentences, in the latest pass."""

    def events(self) -> Iterator[Event]:
        """All events by rising time."""

    def items(self) -> Iterator[Item]:
        """The catalogue, if there is one."""

    def users(self) -> Iterator[User]:
        """What users say of themselves, if that is known."""


class LogSurvey(msgspec.Struct, frozen=True, kw_only=True):
    """What a first pass over a log finds.

    Attributes
    ----------
    digest
        Of user, item, time, type and value of every event, in order: the same for the same events
        in another format.
    n_targets
        Events that an experiment asks models about, its warm-up included.
    value_min, value_max
        Of the targets' values; None where none has one.
    gone
        What the log no longer had, in sentences.
    clipped
        Values that rewards clip, where rewards say what is scored or learned.
    id_faults
        Where the log, its catalogue and its users don't speak of the same, in sentences.
    n_unavailable
        Items that the catalogue says are not available, where a funnel would keep to that.
    unread
        What settings of a funnel read that no item, user or request has, in sentences.
    """

    name: str
    digest: str
    n_events: int
    n_targets: int
    first_ts: int | None
    last_ts: int | None
    value_min: float | None
    value_max: float | None
    n_malformed: int
    malformed: tuple[str, ...]
    gone: tuple[str, ...] = ()
    clipped: tuple[Clipped, ...] = ()
    id_faults: tuple[str, ...] = ()
    n_unavailable: int = 0
    unread: tuple[str, ...] = ()

    def remarks(self) -> Iterator[str]:
        """Say what of the log is not as it might seem."""
        yield from self.gone
        yield from map(str, self.clipped)
        yield from self.id_faults
        yield from self.unread
        if self.n_unavailable:
            yield (
                f"{self.n_unavailable:,} items of the catalogue are not available on its day: the"
                " funnel takes them as available from when the log meets them, as they were then"
            )


def survey(
    log: EventLog,
    is_target: Callable[[Event], bool],
    *,
    progress: Progress | None = None,
    values: ClippedValues | None = None,
    ids: CommonIds | None = None,
    n_unavailable: int = 0,
    unread: tuple[str, ...] = (),
) -> LogSurvey:
    """Read a log to its end.

    Parameters
    ----------
    values
        Counts values that rewards clip; None: rewards do not matter.
    ids
        Has counted the log's items and users.
    n_unavailable
        Of the log's items.
    unread
        What settings read that no item, user or request has, in sentences.

    Raises
    ------
    ConfigError
        When it can't be read, holds no event or no target, or is not in the order of time.
    BadMessage
        At the first malformed line, where the log is strict.
    """
    digest = hashlib.blake2b(digest_size=16)
    n_events = n_targets = 0
    first_ts = last_ts = None
    low, high = float("inf"), float("-inf")
    encode = msgspec.json.Encoder().encode
    for event in reported(log.events(), progress):
        n_events += 1
        digest.update(encode((event.user_id, event.item_id, event.ts, event.type, event.value)))
        first_ts = event.ts if first_ts is None else first_ts
        if last_ts is not None and event.ts < last_ts:
            raise ConfigError(f"{log.name} is not in the order of time; open it sorted")
        last_ts = event.ts
        if values is not None:
            values.add(event)
        if ids is not None:
            ids.add_event(event)
        if is_target(event):
            n_targets += 1
            if event.value is not None:
                low, high = min(low, event.value), max(high, event.value)
    if n_targets == 0:
        raise ConfigError(
            f"{log.name}: {n_events:,} events, {log.n_malformed:,} malformed lines, and none to"
            " score; look at --positives and --map"
            + "".join(f"\n  {each}" for each in log.malformed[:3])
        )
    return LogSurvey(
        name=log.name,
        digest=digest.hexdigest(),
        n_events=n_events,
        n_targets=n_targets,
        first_ts=first_ts,
        last_ts=last_ts,
        value_min=low if low <= high else None,
        value_max=high if low <= high else None,
        n_malformed=log.n_malformed,
        malformed=tuple(map(str, log.malformed)),
        gone=tuple(log.gone),
        clipped=() if values is None else values.found(),
        id_faults=() if ids is None else tuple(map(str, ids.faults())),
        n_unavailable=n_unavailable,
        unread=unread,
    )


def reported(events: Iterable[Event], progress: Progress | None) -> Iterator[Event]:
    """``events``, with ``progress`` called now and then, and at the end, with their number."""
    if progress is None:
        yield from events
        return
    number = 0
    for number, event in enumerate(events, 1):
        if number % _REPORT_EVERY == 0:
            progress(number)
        yield event
    progress(number)


def in_order(
    log: EventLog,
    ties: Ties,
    seed: int,
    *,
    keep: Callable[[Event], bool] = lambda event: True,
    progress: Progress | None = None,
) -> Iterator[Event]:
    """The events to ``keep`` by time; those of one time in the log's order or a seeded random one.

    A log whose ties are sorted, by item for example, tells what comes next; live streams don't.
    """
    kept = filter(keep, reported(log.events(), progress))
    if ties == "file":
        yield from kept
        return
    rng = np.random.default_rng([seed, 0x71E5])
    for _, group in groupby(kept, key=attrgetter("ts")):
        while together := list(islice(group, TIES_MAX)):
            if len(together) == 1:
                yield together[0]
            else:
                for at in rng.permutation(len(together)).tolist():
                    yield together[at]
