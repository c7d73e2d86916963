"""Where a group begins that has no offset: with what somebody may still wait for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from streamer.kafka.log_ends import Ends, TopicPartition

log = logging.getLogger(__name__)


def recent_starts(
    partitions: Sequence[TopicPartition],
    *,
    committed: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, Ends],
    offsets_at: Callable[[Sequence[TopicPartition], int], Mapping[TopicPartition, int]],
    recent_s: float,
    passed_over: Callable[[int], None],
) -> dict[TopicPartition, int]:
    """Return where to begin with those partitions of which a group has no offset in the log.

    Parameters
    ----------
    offsets_at
        The first offset of each partition that was published at a time or later; negative: none.
    recent_s
        How old the first message may be.
    passed_over
        Told how many messages of a partition are older, which is said, too.
    """
    lacking = [each for each in partitions if not 0 <= committed.get(each, -1) <= ends[each].high]
    if not lacking:
        return {}
    since_ms = time.time_ns() // 1_000_000 - round(1000 * recent_s)
    starts = {}
    for where, at in offsets_at(lacking, since_ms).items():
        low, high = ends[where]
        starts[where] = start = at if at >= 0 else high
        if start > low:
            passed_over(start - low)
            log.warning(
                "messages_passed_over %s[%d]: offsets %d to %d were published more than %g s ago,"
                " and the group has no offset there: nobody waits for them any more (%d messages)",
                *where,
                low,
                start - 1,
                recent_s,
                start - low,
            )
    return starts
