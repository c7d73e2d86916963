"""Messages in packs: each comes once, and in order."""

from __future__ import annotations

import pytest

pytest.importorskip("faust", reason="pip install 'streamer[features]'")

from aiokafka.structs import ConsumerRecord
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from streamer.faust_worker.packs import Record, packed, unpacked
from streamer.protocols import MessageBatch


def records(first: int, end: int) -> list[Record]:
    return [
        ConsumerRecord(
            topic="events",
            partition=1,
            offset=offset,
            timestamp=1_000 + offset if offset % 4 else None,
            timestamp_type=0,
            key=b"k",
            value=f"m{offset}".encode() if offset % 3 else None,
            checksum=None,
            serialized_key_size=1,
            serialized_value_size=2,
            headers=(),
        )
        for offset in range(first, end)
    ]


def as_given(record: Record) -> MessageBatch:
    """What an agent gets of it."""
    return unpacked(
        ConsumerMessage(
            record.topic, record.partition, record.offset, 0.0, 0, {}, record.key, record.value,
            None, tp=TP(record.topic, record.partition),
        )
    )  # fmt: skip


@pytest.mark.parametrize(("first", "n"), [(0, 1), (0, 2), (0, 30), (1, 30), (7, 10), (7, 11)])
def test_packs_hold_each_message_once_at_the_offset_of_their_first(first: int, n: int) -> None:
    given = records(first, first + n)
    found = packed(given, 10)
    batches = [as_given(each) for each in found]
    assert [each.offset for each in found] == [int(batch.offsets[0]) for batch in batches]
    assert [offset for batch in batches for offset in batch.offsets] == list(
        range(first, first + n)
    )
    assert [value for batch in batches for value in batch.values] == [each.value for each in given]
    assert [int(at_ms) for batch in batches for at_ms in batch.publish_ms] == [
        -1 if each.timestamp is None else each.timestamp for each in given
    ]
    assert max(map(len, batches)) <= 10
    assert len(found) == -(-n // 10)


def test_nothing_fetched_is_no_pack() -> None:
    assert packed([], 10) == []
