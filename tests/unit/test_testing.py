"""The broker in memory behaves as the real one does where services rely on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from streamer.errors import DeliveryFailed
from streamer.kafka.log_ends import COMMITTED, EARLIEST, LATEST
from streamer.kafka.partitioner import partition_of
from streamer.protocols import MessageBatch
from streamer.simulation.broker import (
    ManualClock,
    MemoryBroker,
    MemorySink,
    MemorySource,
    TopicPartition,
)


class Member:
    """A source that notes what it is given and starts where it is told."""

    def __init__(
        self,
        broker: MemoryBroker,
        starts: Mapping[TopicPartition, int],
        *,
        partitions: Sequence[int] | None = None,
    ) -> None:
        self.heard: list[tuple[str, list[int]]] = []
        self._starts = starts
        self.clock = ManualClock()
        self.source = MemorySource(
            broker,
            "group",
            ["t"],
            on_assign=self._assigned,
            on_revoke=lambda owned: self.heard.append(("revoked", list(owned))),
            clock=self.clock,
            partitions=partitions,
        )

    def _assigned(self, partitions: Sequence[int]) -> Mapping[TopicPartition, int]:
        self.heard.append(("assigned", list(partitions)))
        return self._starts

    def values(self, n_max: int = 100) -> list[bytes | None]:
        batches = self.source.poll(n_max=n_max, timeout_s=0)
        return [value for batch in batches for value in batch.values]


def filled(n: int = 6, *, n_partitions: int = 2) -> MemoryBroker:
    """Message ``i`` on partition ``i % n_partitions``."""
    broker = MemoryBroker({"t": n_partitions})
    sink = MemorySink(broker, clock=ManualClock(77))
    for i in range(n):
        sink.send("t", key=b"key", value=b"%d" % i, partition=i % n_partitions)
    return broker


def test_batches_have_offsets_times_and_keys() -> None:
    (batch, other) = Member(filled(), {}).source.poll(n_max=10, timeout_s=0)
    assert (batch.topic, batch.partition, other.partition) == ("t", 0, 1)
    assert batch.values == [b"0", b"2", b"4"]
    assert batch.offsets.tolist() == [0, 1, 2]
    assert batch.publish_ms.tolist() == [77] * 3
    assert batch.keys == [b"key"] * 3


def test_keys_choose_partitions_as_kafkas_clients_do_and_keyless_ones_go_round() -> None:
    broker = MemoryBroker({"t": 4})
    sink = MemorySink(broker, clock=ManualClock())
    for name in (b"ann", b"bob", b"eve", b""):
        sink.send("t", key=name, value=name)
        where = ("t", partition_of(name, 4))
        assert broker.read(where, broker.end(where) - 1, 1)[0].value == name
    before = [broker.end(("t", p)) for p in range(4)]
    for _ in range(4):
        sink.send("t", key=None, value=b"")
    assert [broker.end(("t", p)) - n for p, n in enumerate(before)] == [1, 1, 1, 1]


def test_every_message_is_read_once_and_no_partition_starves() -> None:
    member = Member(filled(100), {})
    polls: list[list[MessageBatch]] = []
    while batches := member.source.poll(n_max=7, timeout_s=0):
        assert sum(map(len, batches)) <= 7
        polls.append(batches)
    values = [int(value or b"") for poll in polls for batch in poll for value in batch.values]
    assert sorted(values) == list(range(100))
    assert {batch.partition for poll in polls[:2] for batch in poll} == {0, 1}


@pytest.mark.parametrize(
    ("start", "expected"),
    [(EARLIEST, [b"0", b"2", b"4"]), (LATEST, []), (1, [b"2", b"4"]), (COMMITTED, [b"4"])],
)
def test_starts_are_read_as_the_real_source_reads_them(start: int, expected: list[bytes]) -> None:
    broker = filled()
    Member(broker, {}).source.tell_applied({("t", 0): 2})
    assert Member(broker, {("t", 0): start}, partitions=[0]).values() == expected


def test_a_group_that_never_told_anything_starts_at_the_end() -> None:
    assert Member(filled(), {("t", p): COMMITTED for p in range(2)}).values() == []


def test_a_rebalance_takes_all_partitions_and_gives_others() -> None:
    member = Member(filled(), {})
    assert member.heard == []
    member.values(1)
    member.source.rebalance([1])
    assert member.values() == [b"1", b"3", b"5"]
    member.source.close()
    assert member.heard == [
        ("assigned", [0, 1]),
        ("revoked", [0, 1]),
        ("assigned", [1]),
        ("revoked", [1]),
    ]


def test_lag_counts_what_waits() -> None:
    member = Member(filled(), {("t", 1): 2})
    member.values(1)
    assert member.source.lag() == {("t", 0): 2, ("t", 1): 1}


def test_waiting_lets_time_pass() -> None:
    member = Member(filled(0), {})
    assert member.source.poll(n_max=1, timeout_s=0.25) == []
    assert member.clock.now_ms() == 250


def test_time_never_goes_back() -> None:
    clock = ManualClock(100)
    clock.set(50)
    assert clock.now_ms() == 100


def test_a_topic_or_partition_that_is_not_there_refuses_messages() -> None:
    sink = MemorySink(MemoryBroker({"t": 1}), clock=ManualClock())
    with pytest.raises(DeliveryFailed, match="name it when the broker is made"):
        sink.send("other", key=None, value=b"")
    with pytest.raises(DeliveryFailed, match=r"t\[1\]"):
        sink.send("t", key=None, value=b"", partition=1)
