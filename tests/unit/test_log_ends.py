"""Where a reader may start in a log."""

from __future__ import annotations

import math
from typing import cast

import confluent_kafka as ck
import pytest

from streamer.errors import KafkaError, KafkaUnavailable, TopicMismatch
from streamer.kafka.log_ends import (
    COMMITTED,
    CONTINUED,
    EARLIEST,
    LATEST,
    RECENT,
    Ends,
    log_ends,
    resolve_starts,
)

WHERE = ("events", 0)
LOG = {WHERE: Ends(100, 200)}


@pytest.mark.parametrize(
    ("start", "offset", "n_skipped"),
    [
        (150, 150, 0),
        (100, 100, 0),
        (200, 200, 0),
        (40, 100, 60),
        (0, 100, 100),
        (EARLIEST, 100, 0),
        (LATEST, 200, 0),
    ],
)
def test_a_start_is_put_inside_the_log(start: int, offset: int, n_skipped: int) -> None:
    found = resolve_starts({WHERE: start}, needed={}, committed={}, ends=LOG)
    assert found == ({WHERE: offset}, n_skipped)


def test_a_partition_without_a_start_begins_with_the_earliest() -> None:
    assert resolve_starts({}, needed={}, committed={}, ends=LOG) == ({WHERE: 100}, 0)


@pytest.mark.parametrize(
    ("start", "committed", "offset"),
    [
        (COMMITTED, {WHERE: 170}, 170),
        (COMMITTED, {("events", 1): 170}, 200),
        (COMMITTED, {}, 200),
        (CONTINUED, {WHERE: 170}, 170),
        (CONTINUED, {}, 100),
        (RECENT, {WHERE: 170}, 170),
        (RECENT, {}, 150),
        (RECENT, {WHERE: 201}, 150),
        (COMMITTED, {WHERE: 201}, 100),
        (CONTINUED, {WHERE: 201}, 100),
    ],
)
def test_the_committed_offset_or_else_an_end(
    start: int,
    committed: dict[tuple[str, int], int],
    offset: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    recent = {WHERE: 150} if start == RECENT else {}
    found = resolve_starts({WHERE: start}, needed={}, committed=committed, ends=LOG, recent=recent)
    assert found == ({WHERE: offset}, 0)
    is_of_another = committed.get(WHERE, 0) > LOG[WHERE].high
    assert ("events[0]: the group had read up to offset 201" in caplog.text) == is_of_another


def test_only_what_is_needed_counts_as_lost(caplog: pytest.LogCaptureFixture) -> None:
    found = resolve_starts({WHERE: 20}, needed={WHERE: 120}, committed={}, ends=LOG)
    assert found == ({WHERE: 100}, 0)
    assert caplog.records == []
    found = resolve_starts({WHERE: 20}, needed={WHERE: 90}, committed={}, ends=LOG)
    assert found == ({WHERE: 100}, 10)
    assert "events[0]: offsets 90 to 99 were deleted before they were read" in caplog.text


@pytest.mark.parametrize(
    ("starts", "needed"),
    [({WHERE: 205}, {}), ({WHERE: 150}, {WHERE: 205}), ({}, {WHERE: 205})],
)
def test_a_store_ahead_of_its_topic_is_refused(
    starts: dict[tuple[str, int], int], needed: dict[tuple[str, int], int]
) -> None:
    with pytest.raises(KafkaError, match=r"ahead of the topic by 5 messages.*recreated"):
        resolve_starts(starts, needed=needed, committed={}, ends=LOG)


class Restarting:
    """A client of a broker that has opened no log at the first ``n_unknown`` questions, and is away
    at each ``away_every``-th of them."""

    def __init__(
        self,
        n_unknown: float,
        code: int = ck.KafkaError._UNKNOWN_PARTITION,
        *,
        away_every: float = math.inf,
    ) -> None:
        self.n_unknown = n_unknown
        self._code = code
        self._away_every = away_every

    def get_watermark_offsets(
        self, asked: ck.TopicPartition, *, timeout: float, cached: bool
    ) -> tuple[int, int]:
        self.n_unknown -= 1
        if self.n_unknown >= 0 and self.n_unknown % self._away_every == 0:
            raise ck.KafkaException(ck.KafkaError(ck.KafkaError._TRANSPORT))
        if self.n_unknown >= 0:
            raise ck.KafkaException(ck.KafkaError(self._code))
        return 3, 7


def asked(client: Restarting, timeout_s: float = 0.3) -> dict[tuple[str, int], Ends]:
    consumer = cast("ck.Consumer", client)
    return log_ends(consumer, [WHERE], timeout_s=timeout_s, bootstrap_servers="broker:1")


class ByTheClock:
    """Time that passes while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.mark.parametrize(
    "code", [ck.KafkaError._UNKNOWN_PARTITION, ck.KafkaError.UNKNOWN_LEADER_EPOCH]
)
def test_a_broker_that_has_just_started_may_not_know_its_topics_yet(code: int) -> None:
    assert asked(Restarting(2, code)) == {WHERE: Ends(3, 7)}


def test_a_broker_that_comes_back_may_be_as_long_again_without_knowing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamer.kafka.log_ends.time", ByTheClock())
    # 600 questions, 30 s: it goes after each 10 s.
    assert asked(Restarting(600, away_every=200), timeout_s=60) == {WHERE: Ends(3, 7)}
    with pytest.raises(TopicMismatch, match="make the topics"):
        asked(Restarting(600), timeout_s=60)
    with pytest.raises(KafkaUnavailable):
        asked(Restarting(600, away_every=1), timeout_s=29)


def test_a_topic_that_stays_unknown_is_said_to_be_missing() -> None:
    with pytest.raises(TopicMismatch, match="make the topics"):
        asked(Restarting(float("inf")))
