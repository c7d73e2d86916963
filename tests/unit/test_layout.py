"""The packed codec: equal in, equal out, and equal entries are equal bytes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamer.errors import LayoutMismatch, StoreError
from streamer.protocols import (
    STORE_SCHEMA_VERSION,
    Entry,
    Generation,
    Layout,
    ModelSettings,
    Schedule,
)
from streamer.store.layout import (
    Progress,
    decode_entry,
    decode_layout,
    decode_progress,
    decode_schedule,
    encode_entry,
    encode_layout,
    encode_progress,
    encode_schedule,
    unpack_rows,
)
from streamer_models.state.table import Change, IdChange, Merge, Rows, TableSpec
from tests.timing import shortest_s

SPEC = TableSpec("item_factors", "item", Merge.SUM, "i4", 3)
INT64 = st.integers(-(2**63), 2**63 - 1)
KEYS = st.integers(0, 2**64 - 1)


@st.composite
def row_columns(draw: st.DrawFn) -> Rows:
    n, width = draw(st.integers(0, 4)), draw(st.integers(0, 3))
    dtype = draw(st.sampled_from(["<f4", "<i4", "<i8", "<u8"]))
    return Rows(draw(hnp.arrays(np.uint64, n, elements=KEYS)), draw(hnp.arrays(dtype, (n, width))))


@st.composite
def id_changes(draw: st.DrawFn) -> IdChange:
    names = tuple(draw(st.lists(st.binary(max_size=9) | st.text(max_size=9).map(str.encode))))
    return IdChange(
        draw(hnp.arrays(np.uint64, len(names), elements=KEYS)),
        names,
        draw(hnp.arrays(np.uint64, st.integers(0, 3), elements=KEYS)),
    )


def dictionaries(values: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return st.dictionaries(st.text(max_size=5), values, max_size=3)


SCHEDULES = st.builds(
    Schedule,
    version=st.integers(1, 2**62),
    offsets=st.dictionaries(st.text(max_size=5), st.tuples(INT64, INT64), max_size=3),
    seen=st.dictionaries(st.integers(0, 9), INT64, max_size=3),
    merged=st.dictionaries(st.integers(0, 9), INT64, max_size=3),
)
ENTRIES = st.builds(
    Entry,
    partition=st.integers(0, 2**31),
    schedule=SCHEDULES,
    change=st.builds(
        Change,
        withdrawn=dictionaries(row_columns()),
        ids=dictionaries(id_changes()),
        tables=dictionaries(row_columns()),
    ),
    watermark_ms=INT64,
    publish_ms=hnp.arrays(np.int64, st.integers(0, 5)),
    committed_ms=INT64,
    n_events=INT64,
)


def same_rows(left: Rows, right: Rows) -> bool:
    return (
        left.keys.tobytes() == right.keys.tobytes()
        and left.values.dtype == right.values.dtype
        and left.values.shape == right.values.shape
        and left.values.tobytes() == right.values.tobytes()
    )


@given(ENTRIES)
def test_an_entry_comes_back_as_it_went_in(entry: Entry) -> None:
    back = decode_entry(encode_entry(entry))
    assert replace(back, change=entry.change, publish_ms=entry.publish_ms) == entry
    assert back.publish_ms.tobytes() == entry.publish_ms.tobytes()
    for ours, theirs in (
        (back.change.withdrawn, entry.change.withdrawn),
        (back.change.tables, entry.change.tables),
    ):
        assert ours.keys() == theirs.keys()
        assert all(same_rows(ours[name], theirs[name]) for name in theirs)
    assert back.change.ids.keys() == entry.change.ids.keys()
    for entity, ids in entry.change.ids.items():
        found = back.change.ids[entity]
        assert found.names == ids.names
        assert found.added.tobytes() == ids.added.tobytes()
        assert found.removed.tobytes() == ids.removed.tobytes()


@given(ENTRIES)
def test_equal_entries_are_equal_bytes(entry: Entry) -> None:
    change = entry.change
    turned = Change(
        *(
            dict(reversed(list(part.items())))  # type: ignore[arg-type]
            for part in (change.withdrawn, change.ids, change.tables)
        )
    )
    schedule = replace(
        entry.schedule,
        offsets=dict(reversed(list(entry.schedule.offsets.items()))),
        seen=dict(reversed(list(entry.schedule.seen.items()))),
    )
    data = encode_entry(entry)
    assert encode_entry(replace(entry, change=turned, schedule=schedule)) == data
    assert encode_entry(decode_entry(data)) == data


@given(ENTRIES)
def test_decoded_arrays_are_aligned_views(entry: Entry) -> None:
    for rows in decode_entry(encode_entry(entry)).change.tables.values():
        assert rows.values.flags.aligned
        assert rows.values.flags.c_contiguous
        assert not rows.values.flags.writeable


@given(SCHEDULES)
def test_a_schedule_comes_back(schedule: Schedule) -> None:
    assert decode_schedule(encode_schedule(schedule)) == schedule


@given(st.integers(0, 2**62), st.dictionaries(st.text(), INT64), INT64)
def test_progress_comes_back(version: int, offsets: dict[str, int], watermark_ms: int) -> None:
    progress = Progress(version, offsets, watermark_ms)
    assert decode_progress(encode_progress(progress)) == progress


def sample(n_rows: int = 2) -> Entry:
    rng = np.random.default_rng(7)
    keys = rng.integers(0, 2**63, n_rows).astype(np.uint64)
    rows = Rows(keys, rng.integers(-9, 9, (n_rows, 33)).astype(np.int32))
    ids = IdChange(keys[:1_000], tuple(b"item-%d" % n for n in range(len(keys[:1_000]))), keys[:0])
    change = Change({}, {"item": ids}, {"item_factors": rows})
    schedule = Schedule(1, {"events": (0, 9)}, {}, {})
    return Entry(0, schedule, change, 5, np.arange(3, dtype=np.int64), 6, 9)


def test_a_layout_comes_back() -> None:
    tables = (SPEC, replace(SPEC, name="ü", merge=Merge.NEIGHBOURS))
    model = ModelSettings({"seed": 2**63 - 1, "rates": [0.1, None]}, tables, since=2)
    generation = Generation({"events.click.weight": 1.5}, {"mf": model}, {"mf.factors": 8})
    layout = Layout(STORE_SCHEMA_VERSION, 4, tables, {"learner.seed": 3}, (generation,))
    data = encode_layout(layout)
    assert decode_layout(data) == layout
    assert encode_layout(decode_layout(data)) == data, "it is compared as text"
    assert b'"events.click.weight": 1.5' in data


def test_columns_of_any_order_and_stride_are_written_alike() -> None:
    rows = sample().change.tables["item_factors"]
    fortran = Rows(np.repeat(rows.keys, 2)[::2], np.asfortranarray(rows.values))
    written = [
        encode_entry(replace(sample(), change=Change({}, {}, {"item_factors": columns})))
        for columns in (rows, fortran)
    ]
    assert written[0] == written[1]


def test_an_entry_of_a_release_without_ids_is_read() -> None:
    entry = replace(sample(), parent_id=2**64 - 1, commit_id=7)
    data = encode_entry(entry)
    assert decode_entry(data).parent_id == 2**64 - 1
    n_bytes = int.from_bytes(data[4:8], "little")
    fields = msgspec.msgpack.decode(data[8 : 8 + n_bytes])
    assert fields[9:] == [2**64 - 1, 7], "behind what a release without them reads"
    former = msgspec.msgpack.encode(fields[:9])
    body = data[8 + -(-n_bytes // 8) * 8 :]
    head = data[:4] + len(former).to_bytes(4, "little") + former
    read = decode_entry(head + bytes(-len(former) % 8) + body)
    assert (read.parent_id, read.commit_id) == (0, 0)
    assert encode_entry(replace(read, parent_id=2**64 - 1, commit_id=7)) == data


RECORDS: list[tuple[bytes, Callable[[bytes], object]]] = [
    (encode_entry(sample()), decode_entry),
    (encode_schedule(sample().schedule), decode_schedule),
    (encode_progress(Progress(3, {"events": 2}, 1)), decode_progress),
]


@pytest.mark.parametrize(("data", "decode"), RECORDS)
def test_another_schema_version_is_refused(data: bytes, decode: Callable[[bytes], object]) -> None:
    other = (STORE_SCHEMA_VERSION + 1).to_bytes(4, "little") + data[4:]
    with pytest.raises(LayoutMismatch) as caught:
        decode(other)
    said = f"schema version {STORE_SCHEMA_VERSION + 1}, this streamer reads {STORE_SCHEMA_VERSION}"
    assert said in str(caught.value)
    assert "run the version that wrote it, or use an empty store" in str(caught.value)


def test_a_layout_of_another_schema_version_is_refused() -> None:
    data = encode_layout(Layout(STORE_SCHEMA_VERSION + 1, 1, (SPEC,)))
    before = (1).to_bytes(4, "little") + bytes(12)  # as version 1 began all its records
    for other, version in ((data, STORE_SCHEMA_VERSION + 1), (before, 1)):
        with pytest.raises(LayoutMismatch, match=f"a layout of schema version {version}, this"):
            decode_layout(other)


def test_a_layout_cut_short_is_called_damaged() -> None:
    data = encode_layout(Layout(STORE_SCHEMA_VERSION, 1, (SPEC,)))
    for n_bytes in (0, 1, 3, len(data) // 2):
        with pytest.raises(StoreError, match="damaged: restore it") as caught:
            decode_layout(data[:n_bytes])
        # Without a layout nothing can be rebuilt.
        assert "another path in store.url, or another store.key_prefix" in str(caught.value)
        assert "store rebuild" not in str(caught.value)


@pytest.mark.parametrize(("data", "decode"), RECORDS)
def test_a_record_cut_short_is_called_damaged(
    data: bytes, decode: Callable[[bytes], object]
) -> None:
    for n_bytes in (0, 3, 7, 8, 12, len(data) // 2):
        with pytest.raises(StoreError, match="damaged: restore it"):
            decode(data[:n_bytes])


def test_every_damaged_byte_is_refused_or_harmless() -> None:
    data = encode_entry(sample())
    for at in range(4, len(data), 3):
        broken = data[:at] + bytes([data[at] ^ 0x5A]) + data[at + 1 :]
        with contextlib.suppress(StoreError):
            decode_entry(broken)


def test_a_wide_change_takes_milliseconds() -> None:
    entry = sample(25_000)
    data = encode_entry(entry)
    # 1.2 and 0.2 ms where it was measured.
    assert shortest_s(lambda: encode_entry(entry), n=20, clock=time.thread_time) < 0.020
    assert shortest_s(lambda: decode_entry(data), n=20, clock=time.thread_time) < 0.020


def test_rows_come_sorted_and_once() -> None:
    keys = np.array([2**63, 1, 2**63, 5], np.uint64)
    values = np.arange(12, dtype=np.int32).reshape(4, 3)
    values[2] = values[0]
    rows = unpack_rows(SPEC, keys.tobytes(), values.tobytes())
    assert rows.keys.tolist() == [1, 5, 2**63]
    assert rows.values.tolist() == [[3, 4, 5], [9, 10, 11], [0, 1, 2]]
    assert rows.values.flags.writeable


def test_rows_of_another_width_are_called_damaged() -> None:
    with pytest.raises(StoreError, match="11 bytes for 1 rows of 12"):
        unpack_rows(SPEC, bytes(8), bytes(11))
