"""Which offsets without a message are a loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from streamer.kafka.gaps import CREDIT_FIRST, Gaps
from streamer.kafka.log_ends import TopicPartition
from streamer.protocols import MessageBatch

WHERE = ("events", 0)


class Log:
    """A log of which a reader sees some offsets, and one of uncommitted messages others."""

    def __init__(self, seen: Sequence[int], *, hidden: Sequence[int] = (), end: int) -> None:
        self.compacted: bool | None = False
        self.answers = True
        self.n_looks = 0
        self.n_lost = 0
        self.seen = np.array(seen, np.int64)
        self.gaps = Gaps(self, lost=self._lose)
        self._visible = np.union1d(self.seen, np.array(hidden, np.int64))
        self._end = end

    def is_compacted(self, topic: str) -> bool | None:
        return self.compacted

    def n_visible(self, where: TopicPartition, start: int, end: int, *, enough: int) -> int | None:
        self.n_looks += 1
        found = self._visible[(self._visible >= start) & (self._visible < end)]
        return min(len(found), enough) if self.answers else None

    def _lose(self, n: int) -> None:
        self.n_lost += n

    def batches(self, size: int) -> Iterator[MessageBatch]:
        for start in range(0, len(self.seen), size):
            offsets = self.seen[start : start + size]
            yield MessageBatch(*WHERE, [b""] * len(offsets), offsets, np.zeros_like(offsets))

    def read(self, *, size: int = 500, needed: int = 0) -> int:
        """What is lost in reading it."""
        self.gaps.begin({WHERE: needed})
        position = 0
        for batch in self.batches(size):
            self.gaps.take(batch, position)
            position = int(batch.offsets[-1]) + 1
        return self.n_lost


def transactions(n: int, n_messages: int) -> list[int]:
    """Offsets of messages of ``n`` transactions, each of which ends with one that has none."""
    return [at for at in range(n * (n_messages + 1)) if (at + 1) % (n_messages + 1)]


def test_nothing_is_missing_of_a_log_without_gaps() -> None:
    log = Log(range(3_000), end=3_000)
    assert log.read() == log.n_looks == 0


@pytest.mark.parametrize("n_messages", [1, 2, 20])
def test_ends_of_transactions_are_no_loss(n_messages: int) -> None:
    seen = transactions(2_000, n_messages)
    log = Log(seen, end=seen[-1] + 1)
    assert log.read() == 0
    assert log.n_looks == 0, "the log need not be looked at"


def test_ends_of_transactions_that_follow_one_another_are_no_loss() -> None:
    """Sixty producers that write one message each, and end one after the other."""
    seen = [at for at in range(12_000) if at % 120 < 60]
    assert Log(seen, end=12_000).read() == 0


def test_messages_of_aborted_transactions_are_no_loss() -> None:
    seen = [*range(200), *range(5_201, 5_400)]
    log = Log(seen, hidden=range(200, 5_200), end=5_400)
    assert log.read() == 0
    assert log.n_looks == 1


def test_what_a_compacted_topic_lacks_is_lost_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = Log([*range(0, 3_000, 3), *range(3_000, 3_100)], end=3_100)
    log.compacted = True
    assert log.read(size=100) == 2_000
    assert log.n_looks == 0
    (record,) = caplog.records
    assert record.getMessage().startswith("messages_lost events[0]: of offsets 0 to 297, 198 have")
    assert "--entity-name events --add-config cleanup.policy=delete" in record.getMessage()


def test_what_was_compacted_before_is_lost_where_transactions_do_not_explain_it() -> None:
    """As where ``cleanup.policy`` was set to delete again, as is advised."""
    seen = [*range(8_000, 8_700), *range(9_000, 9_100)]
    log = Log(seen, end=9_100)
    assert log.read(size=10_000) == 9_100 - len(seen)
    for size in (100, 500):
        assert Log(seen, end=9_100).read(size=size) >= 8_000


def test_what_was_learned_before_is_not_lost_when_it_is_read_again() -> None:
    log = Log([*range(0, 1_000, 10), *range(1_000, 1_100)], end=1_100)
    log.compacted = True
    assert log.read(needed=1_000) == 0
    assert Log(log.seen.tolist(), end=1_100).read(needed=1_000) == 0


@pytest.mark.parametrize("compacted", [False, None])
def test_what_the_broker_does_not_say_is_not_called_lost(compacted: bool | None) -> None:
    log = Log([0, 5_000], end=5_001)
    log.compacted, log.answers = compacted, False
    assert log.read() == 0
    assert log.n_looks == 1
    assert Log([0, 2 + CREDIT_FIRST], end=3 + CREDIT_FIRST).read() == 0
