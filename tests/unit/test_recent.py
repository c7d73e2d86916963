"""Where a group without an offset begins."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import pytest

from streamer.kafka.log_ends import Ends, TopicPartition
from streamer.kafka.recent import recent_starts

WHERE = ("requests", 0)


@pytest.mark.parametrize(
    ("committed", "at", "start", "n_passed"),
    [
        (None, 150, 150, 50),
        (None, 100, 100, 0),
        (None, -1, 200, 100),
        (150, 120, None, 0),
        (200, 120, None, 0),
        (201, 120, 120, 20),
    ],
)
def test_it_begins_with_the_first_recent_message_and_says_what_is_older(
    committed: int | None,
    at: int,
    start: int | None,
    n_passed: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    began_ms = time.time_ns() // 1_000_000
    passed: list[int] = []

    def offsets_at(asked: Sequence[TopicPartition], ts_ms: int) -> Mapping[TopicPartition, int]:
        assert asked == [WHERE]
        assert began_ms - 60_000 <= ts_ms <= time.time_ns() // 1_000_000 - 60_000
        return {WHERE: at}

    found = recent_starts(
        [WHERE],
        committed={} if committed is None else {WHERE: committed},
        ends={WHERE: Ends(100, 200)},
        offsets_at=offsets_at,
        recent_s=60.0,
        passed_over=passed.append,
    )
    assert found == ({} if start is None else {WHERE: start})
    assert sum(passed) == n_passed
    said = f"offsets 100 to {99 + n_passed} were published more than 60 s ago"
    assert (said in caplog.text) == bool(n_passed)
