"""The state of windows by partition: what comes twice, what a crash leaves, who is waited for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from streamer.config import Config, FeatureConfig, FeatureDefinition, feature_definitions
from streamer.errors import BadMessage
from streamer.events import Event, encode
from streamer.faust_worker.bundles import (
    BYTES_MAX,
    Bundle,
    Part,
    decode_bundle,
    encode_bundle,
    split,
)
from streamer.faust_worker.ingest import Ingest
from streamer.faust_worker.shard import Shard, keys_by_partition
from streamer.protocols import MessageBatch
from streamer.windows.engine import FeatureEngine, windowed_features
from tests.default_types import TYPES
from tests.unit.windowed_logs import Values, as_values, columns, disordered

N = 3
START_MS = 1_700_000_000_000


def definitions() -> list[FeatureDefinition]:
    late = "20s"
    features = {
        "rate": FeatureConfig(
            entity="item", numerator="click", denominator="impression", window="2m", hop="1m",
            smoothing=3.0, lateness=late,
        ),
        "taste": FeatureConfig(
            entity="user_category", numerator="click", denominator="impression", window="1m",
            smoothing=1.0, lateness=late,
        ),
        "users": FeatureConfig(
            entity="item", numerator="click", measure="users", window="1m", lateness=late
        ),
        "session": FeatureConfig(
            entity="user", numerator=("click", "impression"), session_gap="40s", lateness=late
        ),
        "fading": FeatureConfig(
            entity="category", numerator="click", half_life="30s", hop="15s", lateness=late
        ),
    }  # fmt: skip
    return feature_definitions(Config(features=features))


def categories(item_id: str) -> tuple[str, ...]:
    return ("all", f"c{int(item_id[1:]) % 2}")


class Written(dict[bytes, bytes]):
    """A table that remembers its writes, as a changelog does."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[tuple[bytes, bytes | None]] = []

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self.log.append((key, value))
        super().__setitem__(key, value)

    def __delitem__(self, key: bytes) -> None:
        self.log.append((key, None))
        super().__delitem__(key)


def some_events(n: int = 600) -> list[Event]:
    rng = np.random.default_rng(8)
    times = START_MS + np.cumsum(rng.integers(50, 1_500, n))
    events = [
        Event(
            event_id=f"e{i}",
            type="click" if rng.random() < 0.4 else "impression",
            user_id=f"u{rng.integers(7)}",
            item_id=f"i{rng.integers(5)}",
            ts=int(ts),
        )
        for i, ts in enumerate(times)
    ]
    return disordered(events, late_share=0.05, late_ms_max=15_000, seed=3)


def as_batch(source: int, first: int, events: list[Event]) -> MessageBatch:
    offsets = np.arange(first, first + len(events), dtype=np.int64)
    payloads: list[bytes | None] = [encode(event) for event in events]
    return MessageBatch("events", source, payloads, offsets, np.full(len(events), -1, np.int64))


def nothing(partition: int, start: int, end: int) -> Iterator[MessageBatch]:
    return iter(())


def ingest(source: int) -> Ingest:
    engine = FeatureEngine(definitions(), TYPES, cells_max=1)
    return Ingest(
        source,
        types=TYPES,
        n_partitions=N,
        entities=engine.entities,
        parents=engine.parents,
        categories=categories,
        dedup_window=1_000,
        reread=nothing,
    )


def bundles(events: list[Event], n_batch: int) -> list[tuple[int, bytes]]:
    """What two sources send, in turn; events belong to sources by their users."""
    sources = [ingest(0), ingest(1)]
    offsets, sent = [0, 0], []
    for at in range(0, len(events), n_batch):
        for source in (0, 1):
            of_source = [
                event for event in events[at : at + n_batch] if int(event.user_id[1:]) % 2 == source
            ]
            if of_source:
                out, rejected = sources[source].take(as_batch(source, offsets[source], of_source))
                assert not rejected
                offsets[source] += len(of_source)
                sent += out
    return sent


def shard(partition: int, table: dict[bytes, bytes], *, sources: int = 2) -> Shard:
    made = Shard(
        partition,
        definitions(),
        TYPES,
        n_partitions=N,
        sources=range(sources),
        cells_max=10_000,
        table=table,
    )
    made.restore(keys_by_partition(table).get(partition, []))
    return made


def run(each: Shard, payloads: list[bytes], values: Values, *, n_together: int = 1) -> None:
    for at in range(0, len(payloads), n_together):
        each.take(*map(decode_bundle, payloads[at : at + n_together]))
        ended = each.close()
        for key, value in as_values(ended.results).items():
            assert values.get(key, value) == value, key
            values[key] = value
        each.forget(ended)


def expected(events: list[Event]) -> Values:
    found = windowed_features(
        definitions(), columns(events, len(events)), TYPES, categories=categories
    )
    return as_values(found)


def test_shards_together_publish_what_one_engine_does() -> None:
    events = some_events()
    values: Values = {}
    sent = bundles(events, 40)
    for partition in range(N):
        of_partition: Values = {}
        run(shard(partition, {}), [p for to, p in sent if to == partition], of_partition)
        assert not of_partition.keys() & values.keys()
        values |= of_partition
    # The source that came less far is waited for: what it holds open is not there yet.
    reached = min(
        max(event.ts for event in events if int(event.user_id[1:]) % 2 == source)
        for source in (0, 1)
    )
    wanted = {k: v for k, v in expected(events).items() if k[2] + 20_000 <= reached}
    assert values == wanted
    assert len(wanted) > 200


@pytest.mark.parametrize("n_together", [1, 7])
@pytest.mark.parametrize("seed", range(12))
def test_after_a_crash_at_any_write_every_event_counts_once(seed: int, n_together: int) -> None:
    rng = np.random.default_rng(seed)
    payloads = [p for to, p in bundles(some_events(), 25) if to == seed % N]
    table = Written()
    whole = shard(seed % N, table)
    published: list[tuple[int, Values]] = []
    n_written = []
    for at in range(0, len(payloads), n_together):
        some = payloads[at : at + n_together]
        whole.take(*map(decode_bundle, some))
        ended = whole.close()
        published.append((len(table.log), as_values(ended.results)))
        whole.forget(ended)
        n_written += [len(table.log)] * len(some)
    crash = int(rng.integers(1, len(table.log)))
    # Offsets are committed at any message before the one that was being handled.
    handled = int(np.searchsorted(n_written, crash, side="left"))
    resumed = int(rng.integers(max(0, handled - 10), handled + 1))
    left: dict[bytes, bytes] = {}
    for key, value in table.log[:crash]:
        if value is None:
            left.pop(key)
        else:
            left[key] = value
    after: Values = {}
    for n, values in published:
        if n < crash:
            after |= values
    run(shard(seed % N, left), payloads[resumed:], after, n_together=n_together)
    undisturbed: Values = {}
    run(shard(seed % N, {}), payloads, undisturbed)
    assert after == undisturbed


def test_a_bundle_that_comes_twice_changes_nothing() -> None:
    table: dict[bytes, bytes] = {}
    one = shard(0, table)
    payloads = [p for to, p in bundles(some_events(100), 50) if to == 0]
    run(one, payloads, {})
    kept = dict(table)
    run(one, payloads, {})
    assert table == kept


def contents(table: dict[bytes, bytes]) -> dict[bytes, object]:
    """The records, whose offsets have no order."""
    return {key: msgspec.msgpack.decode(record) for key, record in table.items()}


def test_bundles_taken_together_keep_what_they_keep_one_by_one() -> None:
    payloads = [p for to, p in bundles(some_events(200), 10) if to == 0]
    given = list(map(decode_bundle, payloads))
    one, other, twice = (dict[bytes, bytes]() for _ in range(3))
    one_by_one = shard(0, one)
    for each in given:
        one_by_one.take(each)
    shard(0, other).take(*given)
    shard(0, twice).take(*given[:20], *given[5:], *given)
    assert len(given) > 30
    assert contents(other) == contents(twice) == contents(one)


def test_state_is_deleted_when_its_windows_are_over() -> None:
    table: dict[bytes, bytes] = {}
    one = shard(0, table, sources=1)
    payloads = [p for to, p in ingest(0).take(as_batch(0, 0, some_events(200)))[0] if to == 0]
    run(one, payloads, {})
    n_kept = len(table)
    run(one, [encode_bundle(Bundle(0, START_MS + 10**9, False, []))], {})
    assert n_kept > 20
    assert len(table) == 1  # how far it had come


def test_who_says_nothing_is_waited_for_until_idle() -> None:
    one = shard(0, {})

    def hear(source: int, latest_ms: int, *, idle: bool = False) -> int:
        one.take(Bundle(source, latest_ms, idle, []))
        return one.watermark_ms

    assert hear(0, 500) == -1
    assert hear(1, 300) == 300
    assert hear(1, 300, idle=True) == 500
    assert hear(1, 400) == 500  # time does not run backwards
    assert hear(0, 900) == 500
    assert hear(1, 700) == 700
    hear(0, 900, idle=True)
    assert hear(1, 700, idle=True) == 900


def test_an_idle_partition_lets_pass_only_what_was_read_before_it_was_found_idle() -> None:
    one = shard(0, {})

    def hear(source: int, latest_ms: int, at_ms: int, *, idle: bool = False) -> int:
        one.take(Bundle(source, latest_ms, idle, [], at_ms))
        return one.watermark_ms

    assert hear(0, 500, 10_000) == -1
    assert hear(1, 300, 10_000) == 300
    assert hear(1, 300, 12_000, idle=True) == 500
    assert hear(0, 80_000, 13_000) == 500  # 1 may have been given as much, and not be read yet
    assert hear(1, 300, 12_500, idle=True) == 500
    assert hear(1, 300, 14_000, idle=True) == 80_000
    assert hear(0, 90_000, 15_000) == 80_000
    assert hear(1, 85_000, 15_500) == 85_000  # it had
    assert hear(1, 85_000, 16_000, idle=True) == 90_000
    hear(0, 91_000, 15_800)  # of who reads with another clock
    assert hear(0, 91_000, 15_900, idle=True) == 91_000


def test_a_partition_without_any_event_holds_nothing_open() -> None:
    one = shard(0, {})
    one.take(Bundle(0, 500, False, []))
    one.take(Bundle(1, -1, True, []))
    assert one.watermark_ms == 500


def test_repetitions_are_known_after_reading_again() -> None:
    events = some_events(60)
    again = as_batch(0, 60, events[30:60])
    first = ingest(0)
    first.take(as_batch(0, 0, events))
    first.take(again)
    assert first.n_duplicates == 30

    def reread(partition: int, start: int, end: int) -> Iterator[MessageBatch]:
        assert (partition, start, end) == (0, 0, 60)
        yield as_batch(0, 0, events)

    engine = FeatureEngine(definitions(), TYPES, cells_max=1)
    second = Ingest(
        0,
        types=TYPES,
        n_partitions=N,
        entities=engine.entities,
        parents=engine.parents,
        categories=categories,
        dedup_window=1_000,
        reread=reread,
    )
    second.take(again)
    assert (second.n_duplicates, second.latest_ms) == (30, first.latest_ms)


def test_large_bundles_are_split_in_the_order_of_offsets() -> None:
    n = 3_000
    part = Part(
        "item", list(range(n)), ["i" * 200] * n, [0] * n, [1] * n, [None] * n, ["u" * 200] * n
    )
    parts = [each for bundle in split([part]) for each in bundle]
    assert len(parts) > 1
    assert [offset for each in parts for offset in each.offsets] == list(range(n))
    assert all(len(encode_bundle(Bundle(0, 1, False, [each]))) < 2 * BYTES_MAX for each in parts)


def part(**changed: Any) -> bytes:
    fields: dict[str, Any] = {
        "entity": "item",
        "offsets": [1],
        "ids": ["iiii"],
        "types": [0],
        "ts_ms": [1],
        "values": [None],
        "user_ids": ["u"],
    }
    return encode_bundle(Bundle(0, 1, False, [Part(**fields | changed)]))


PUBLISH_MS = 1_700_000_000_000
TWO_DAYS_AHEAD_MS = PUBLISH_MS + 2 * 86_400_000


@pytest.mark.parametrize(
    "payload",
    [
        None,
        b"",
        b"nonsense",
        b"\x80",
        b"\x91" * 100_000,
        part() + b"more",
        part().replace(b"iiii", b"caf\xe9"),
        part().replace(b"iiii", b"\xed\xa0\xbdi"),
        part(ids=["i" * 5_000]),
        part(ids=[""]),
        part(entity="shop"),
        part(types=[10_000]),
        part(types=["click"]),
        part(values=[float("nan")]),
        part(values=[float("inf")]),
        part(
            offsets=[2, 1],
            ids=["i", "i"],
            types=[0, 0],
            ts_ms=[1, 1],
            values=[1.0, 1.0],
            user_ids=["u", "u"],
        ),
        part(ts_ms=[-1]),
        part(ts_ms=[TWO_DAYS_AHEAD_MS]),
        encode_bundle(Bundle(0, TWO_DAYS_AHEAD_MS, True, [])),
        encode_bundle(Bundle(0, 1, True, [], TWO_DAYS_AHEAD_MS)),
        encode_bundle(Bundle(0, 1, False, [Part("item", [1], [], [], [], [], [])])),
        encode_bundle(Bundle(0, 1, False, [Part("item", [2**63], ["i"], [0], [1], [None], ["u"])])),
        encode_bundle(Bundle(0, 1, False, [Part("item", [1], ["i"], [0], [2**62], [None], ["u"])])),
        encode_bundle(Bundle(-1, 1, False, [])),
        encode_bundle(Bundle(N, 1, False, [])),
        encode_bundle(Bundle(0, 2**62, False, [])),
    ],
)
def test_what_is_no_bundle_is_refused(payload: bytes | None) -> None:
    with pytest.raises(BadMessage, match="message: "):
        decode_bundle(payload, n_partitions=N, publish_ms=PUBLISH_MS)


def test_records_that_are_none_begin_anew_and_the_others_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    table: dict[bytes, bytes] = {}
    one = shard(0, table)
    one.take(*(decode_bundle(each) for to, each in bundles(some_events(60), 20) if to == 0))
    one.forget(one.close())
    good = dict(table)
    broken = sorted(good)[:3]
    none = {b"\xff no key": b"", b"": b"\x90", broken[1].replace(b"c", b"\xff", 1): b""}
    assert not none.keys() & good.keys()
    table |= dict.fromkeys(broken, b"\xc1") | none
    shard(0, table)
    assert table.keys() == (good.keys() - set(broken)) | none.keys()
    assert all(table[key] == good[key] for key in good.keys() - set(broken))
    assert caplog.text.count("record_unreadable") == len(broken) + len(none)
