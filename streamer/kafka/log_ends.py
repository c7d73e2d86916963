"""Where a partition's log begins and ends, and where in it a reader may start."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import confluent_kafka as ck

from streamer.errors import KafkaError, TopicMismatch
from streamer.kafka.connection import (
    ASK_S,
    Stopping,
    check_stopping,
    never,
    translated,
)
from streamer.telemetry import RAISE_RETENTION, report_lost

EARLIEST: Final = ck.OFFSET_BEGINNING
"""-2: start at the oldest message kept."""
LATEST: Final = ck.OFFSET_END
"""-1: start after the newest message there is when the partition is taken."""
COMMITTED: Final = ck.OFFSET_STORED
"""-1000: start at what ``tell_applied`` told last; after the newest message if it never did."""
CONTINUED: Final = -1003
"""Start at what ``tell_applied`` told last; at the oldest message kept if it never did."""
RECENT: Final = -1004
"""Start at what ``tell_applied`` told last; if it never did, at the first message that was
published as recently as the reader is told."""
OF_GROUP: Final = {COMMITTED: LATEST, CONTINUED: EARLIEST, RECENT: EARLIEST}
"""Starts that a group's offsets decide → where to start without any."""

TopicPartition = tuple[str, int]

log = logging.getLogger(__name__)

_LOOK_AGAIN_S: Final = 0.05
_NOTHING: Final[Mapping[TopicPartition, int]] = MappingProxyType({})
_UNKNOWN_S: Final = 15.0
"""How long a partition may be unknown: a broker that has just started learns of its own, on a busy
machine not within 5 s. Topics that are missing are found before anybody asks here."""


class Ends(NamedTuple):
    """Offset of the oldest message kept, and the offset the next message will get."""

    low: int
    high: int


def log_ends(
    consumer: ck.Consumer,
    partitions: Sequence[TopicPartition],
    *,
    timeout_s: float,
    bootstrap_servers: str,
    stopping: Stopping = never,
) -> dict[TopicPartition, Ends]:
    """Ask the broker for the ends of each log; some ms a partition, ``timeout_s`` for all.

    Raises
    ------
    Stopped
        When it is asked to stop before all is known.
    KafkaUnavailable
    TopicMismatch
        When a partition does not exist.
    """
    deadline = time.monotonic() + timeout_s
    ends = {}
    for topic, partition in partitions:
        doing = f"asking for the offsets of {topic}[{partition}]"
        asked = ck.TopicPartition(topic, partition)
        unknown_by = math.inf
        while (topic, partition) not in ends:
            left_s = max(_LOOK_AGAIN_S, deadline - time.monotonic())
            try:
                found = consumer.get_watermark_offsets(
                    asked, timeout=min(ASK_S, left_s), cached=False
                )
                if found is None:
                    raise ck.KafkaException(ck.KafkaError(ck.KafkaError._TIMED_OUT))
            except ck.KafkaException as error:
                check_stopping(stopping, doing)
                translation = translated(error, doing=doing, bootstrap_servers=bootstrap_servers)
                # A partition between two leaders, or without one yet, has one in a moment.
                unknown = isinstance(translation, TopicMismatch)
                if not (translation.retriable or unknown):
                    raise translation from error
                now = time.monotonic()
                # A broker that went meanwhile has another such while when it comes back.
                unknown_by = min(unknown_by, now + _UNKNOWN_S) if unknown else math.inf
                if now > min(unknown_by, deadline):
                    raise translation from error
                time.sleep(_LOOK_AGAIN_S)
                continue
            ends[topic, partition] = Ends(*found)
    return ends


def resolve_starts(
    starts: Mapping[TopicPartition, int],
    *,
    needed: Mapping[TopicPartition, int],
    committed: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, Ends],
    recent: Mapping[TopicPartition, int] = _NOTHING,
    remedy: str = RAISE_RETENTION,
) -> tuple[dict[TopicPartition, int], int]:
    """Turn the wished starts into offsets inside the logs.

    Parameters
    ----------
    starts
        Partition → an offset, ``EARLIEST``, ``LATEST`` or one of ``OF_GROUP``; absent:
        ``EARLIEST``.
    needed
        Partition → the first offset that must still be in the log; absent: its start. What lies
        between the start and this may have been deleted without loss.
    committed
        Partition → offset the group has committed. One beyond the end of its log is of another log
        of this name: that partition starts as if there were none, but never at the end.
    recent
        Where ``RECENT`` starts without an offset of the group.
    remedy
        What the line about lost messages advises.

    Returns
    -------
    tuple
        Offsets to start from, and how many needed messages are no longer in the logs.

    Raises
    ------
    KafkaError
        When a needed offset lies beyond the end of its log.
    """
    resolved: dict[TopicPartition, int] = {}
    n_skipped = 0
    for where, (low, high) in ends.items():
        start = starts.get(where, EARLIEST)
        if start in OF_GROUP:
            start = _of_group(where, start, high, committed=committed, recent=recent)
        if start == LATEST:
            start = high
        elif start < 0:
            start = low
        must_have = needed.get(where, start)
        if max(start, must_have) > high:
            raise KafkaError(
                f"{where[0]}[{where[1]}]: the store is ahead of the topic by "
                f"{max(start, must_have) - high} messages (it wants offset "
                f"{max(start, must_have)}, the log ends at {high}): was the topic recreated? "
                "Point kafka.bootstrap_servers and [topics] at the topic the store was learned "
                "from, or forget what was learned with `streamer store rebuild`"
            )
        if must_have < low:
            n_skipped += low - must_have
            report_lost(*where, wanted=must_have, low=low, remedy=remedy)
        resolved[where] = max(start, low)
    return resolved, n_skipped


def _of_group(
    where: TopicPartition,
    start: int,
    high: int,
    *,
    committed: Mapping[TopicPartition, int],
    recent: Mapping[TopicPartition, int],
) -> int:
    """The start of a partition that a group's offsets decide."""
    at = committed.get(where)
    if at is None:
        return recent.get(where, OF_GROUP[start])
    if at <= high:
        return at
    start = recent.get(where, EARLIEST)
    log.warning(
        "another_log %s[%d]: the group had read up to offset %d, and the log ends at %d: the topic"
        " was made anew, so it is read from %s",
        *where,
        at,
        high,
        "its start" if start == EARLIEST else f"offset {start}",
    )
    return start
