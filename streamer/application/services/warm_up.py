"""A made-up life in memory before the real one, so that no message waits for a compiler."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from streamer.config import Config
from streamer.config.experiments import always_shadowed, combinations
from streamer.events import Event, Item
from streamer.simulation.live import Answer, LiveSystem

_BEGIN_MS: Final = 1_700_000_000_000
_N_USERS: Final = (4, 8, 64)
"""Of each round: tables grow."""
_N_EACH: Final = 2
_N_ASKED: Final = 5
_N_ITEMS: Final = 8
_SLATE: Final = 4
_USERS_MAX: Final = 40
_ITEMS_MAX: Final = 7
"""Fewer than there are: some are evicted."""
_DAY_MS: Final = 86_400_000


def warm_up(config: Config) -> None:
    """Learn, commit, follow, load and answer by the configuration, with all in memory.

    Whatever is compiled on the way is compiled for good: kernels are kept on disk and in this
    process. It is the live code throughout, so what a channel, a column, a policy or a model needs
    is compiled without being named here. It takes a second or two, and the first time on a machine
    as long as compiling takes. One process after the other does so, of those that share an
    installation: all would compile the same, and numba's files of what is compiled don't stand two
    that write at once.
    """
    learner = msgspec.structs.replace(
        config.learner,
        users_max=min(_USERS_MAX, config.learner.users_max),
        items_max=min(_ITEMS_MAX, config.learner.items_max),
        user_sightings_min=1,
        item_sightings_min=1,
    )
    topics = msgspec.structs.replace(config.topics, partitions=2)
    made_up = msgspec.structs.replace(
        config, learner=learner, topics=topics, experiments=always_shadowed(config.experiments)
    )
    with _one_process_at_a_time(), _nothing_logged():
        _live(made_up)


@contextlib.contextmanager
def _one_process_at_a_time() -> Iterator[None]:
    # A process that compiles into another place must not keep this one waiting for minutes.
    place = f"{os.environ.get('NUMBA_CACHE_DIR')}:{__file__}"
    name = f"streamer-warm-up-{os.getuid()}-{hashlib.sha256(place.encode()).hexdigest()[:16]}.lock"
    lock = Path(tempfile.gettempdir()) / name
    with lock.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # until it is closed, be it by the end of the process
        yield


@contextlib.contextmanager
def _nothing_logged() -> Iterator[None]:
    """Nobody should read of users who don't exist."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _live(config: Config) -> None:
    system = LiveSystem(config, start_ms=_BEGIN_MS)
    for n_users in _N_USERS:
        now_ms = system.clock.now_ms()
        events = list(_events(n_users, config.event_types.names, now_ms))
        items = _items(now_ms, config.catalogue.embedding)
        system.publish(*items, *events, events[0])  # the last one is a duplicate
        system.sync()
        n_asked = _N_ASKED * combinations(config.experiments)  # each may have a policy of its own
        # One by one, since a shadow variant is computed for a request that none waits behind.
        answers = [system.request(f"u{n}", k=_SLATE) for n in range(n_asked)]
        system.publish(*_feedback(answers, now_ms))
        system.sync()
        system.crash()  # what follows is learned by one that loads
        system.clock.set(now_ms + _DAY_MS)  # all windows are over


def _items(now_ms: int, n_numbers: int) -> Iterator[Item]:
    for n in range(_N_ITEMS):
        yield Item(
            item_id=f"i{n}",
            title=f"Made up (19{70 + n})",
            categories=[f"c{n % 3}"],
            tags=["made up"],
            attributes={"year": 1970 + n},
            created_ts=now_ms,
            embedding=[float(1 + n + i) for i in range(n_numbers)] or None,
        )


def _events(n_users: int, types: Sequence[str], now_ms: int) -> Iterator[Event]:
    # Each event of an item that is not kept ends a step, at 10 ms each: one is enough.
    end = n_users * _N_EACH - 1
    for n in range(end + 1):
        yield Event(
            event_id=f"{now_ms}-{n}",
            type=types[n % len(types)],
            user_id=f"u{n % n_users}",
            item_id=f"i{n % _ITEMS_MAX if n < end else _ITEMS_MAX}",
            ts=now_ms,
            value=1.0,
            context={"surface": "made up"} if n % 2 else None,
        )


def _feedback(answers: Sequence[Answer], now_ms: int) -> Iterator[Event]:
    """Each slate's first place is clicked, and the others are seen."""
    for answer in answers:
        asked = answer.recommendation
        for place, item_id in enumerate(answer.item_ids):
            yield Event(
                event_id=f"{asked.request_id}-{place}-{now_ms}",
                type="impression" if place else "click",
                user_id=asked.user_id,
                item_id=item_id,
                ts=now_ms,
                request_id=asked.request_id,
            )
