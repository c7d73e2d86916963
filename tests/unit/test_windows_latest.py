"""What a reader of the features topic knows, and when it knows nothing any more."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from streamer.config import Config, FeatureConfig, feature_definitions
from streamer.events import FeatureEntity, FeatureValue, encode, feature_value_key
from streamer.simulation.broker import ManualClock, MemoryBroker, MemoryReader, Record
from streamer.windows.latest import LatestFeatures
from streamer_models.state.ids.id_table import id_key
from streamer_models.state.table import Keys

HOUR = 3_600_000
FEATURES = {
    "ctr": FeatureConfig(numerator="click", denominator="impression", window="1h", hop="5m"),
    "clicks": FeatureConfig(numerator="click", window="10m", stale_after="1d"),
    "mine": FeatureConfig(entity="user", numerator="click", window="1h"),
}


def latest(**bounds: int) -> LatestFeatures:
    return LatestFeatures(feature_definitions(Config(features=FEATURES)), **bounds)


def tell(
    known: LatestFeatures,
    name: str,
    entity_id: str,
    value: float,
    end_ms: int,
    entity: FeatureEntity = "item",
) -> None:
    message = FeatureValue(
        entity=entity,
        id=entity_id,
        name=name,
        value=value,
        window_start=end_ms - 1,
        window_end=end_ms,
        computed_ts=end_ms,
    )
    known.take([feature_value_key(name, entity_id)], [encode(message)])


def keys(*entity_ids: str) -> Keys:
    return np.array([id_key(each.encode()) for each in entity_ids], dtype=np.uint64)


def test_values_by_entity_and_name() -> None:
    known = latest()
    tell(known, "ctr", "a", 0.25, HOUR)
    tell(known, "clicks", "b", 7.0, HOUR)
    tell(known, "ctr", "a", 0.5, HOUR + 300_000)
    found = known.values("item", keys("a", "b", "c"), ["ctr", "clicks"], HOUR + 400_000)
    nan = np.nan
    assert np.array_equal(found, [[0.5, nan], [nan, 7.0], [nan, nan]], equal_nan=True)
    assert known.newest_end_ms() == {"clicks": HOUR, "ctr": HOUR + 300_000}


def test_a_value_older_than_its_bound_is_missing_not_zero() -> None:
    known = latest()
    tell(known, "ctr", "a", 0.5, HOUR)
    tell(known, "clicks", "a", 3.0, HOUR)

    def at(at_ms: int) -> list[float]:
        row: list[float] = known.values("item", keys("a"), ["ctr", "clicks"], at_ms)[0].tolist()
        return row

    assert at(2 * HOUR) == [0.5, 3.0]
    assert np.isnan(at(2 * HOUR + 1)).tolist() == [True, False]
    assert np.isnan(at(HOUR - 1)).all()
    assert [each.stale for each in known.about("item", "a", 3 * HOUR)] == [False, True]


def test_an_entity_that_left_its_window_is_forgotten() -> None:
    known = latest()
    tell(known, "ctr", "a:b", 0.5, HOUR)
    known.take([b"ctr:a:b", b"ctr:never", b"none:a"], [None] * 3)
    assert len(known) == 0
    tell(known, "ctr", "a:b", 0.25, HOUR - 1)
    assert known.values("item", keys("a:b"), ["ctr"], HOUR).tolist() == [[0.25]]


def test_what_is_forgotten_before_anything_is_known_is_passed_over() -> None:
    """A compacted topic may begin with nulls: a reader that starts then goes on."""
    known = latest()
    known.take([b"ctr:a", b"mine:u"], [None, None])
    assert len(known) == 0
    tell(known, "ctr", "a", 0.5, HOUR)
    assert known.values("item", keys("a"), ["ctr"], HOUR).tolist() == [[0.5]]


def test_within_a_batch_the_order_counts() -> None:
    known = latest()
    key, ends = feature_value_key("ctr", "a"), (2 * HOUR, HOUR)
    messages = [
        FeatureValue(
            entity="item", id="a", name="ctr", value=end / HOUR, window_start=0, window_end=end,
            computed_ts=end,
        )
        for end in ends
    ]  # fmt: skip
    newer, older = map(encode, messages)

    def after(*batch: bytes | None) -> list[float]:
        known.take([key] * len(batch), batch)
        found: list[float] = known.values("item", keys("a"), ["ctr"], 2 * HOUR)[:, 0].tolist()
        return found

    assert after(older, newer, older) == [2.0]
    assert after(newer, None, older) == [1.0]
    assert np.isnan(after(newer, older, None)).all()
    assert len(known) == 0


def test_an_older_window_does_not_replace_a_newer_one() -> None:
    known = latest()
    tell(known, "ctr", "a", 0.5, 2 * HOUR)
    tell(known, "ctr", "a", 0.1, HOUR)
    assert known.values("item", keys("a"), ["ctr"], 2 * HOUR).tolist() == [[0.5]]


def test_what_is_known_is_bounded_and_rubbish_is_counted() -> None:
    known = latest(values_max=2)
    for entity_id in ("a", "b", "c"):
        tell(known, "ctr", entity_id, 0.5, HOUR)
    known.take([b"ctr:x"], [b"rubbish"])
    assert (len(known), known.n_forgotten, known.n_rejected) == (2, 1, 1)
    assert np.isnan(known.values("item", keys("a"), ["ctr"], HOUR)).all()


def test_at_the_bound_those_that_came_longest_ago_go_whatever_they_are_of() -> None:
    known = latest(values_max=640)
    for i in range(300):
        tell(known, "ctr", f"i{i}", float(i), HOUR)
        tell(known, "mine", f"u{i}", float(i), HOUR, entity="user")
    for i in range(50):
        tell(known, "ctr", f"i{i}", -float(i), HOUR)  # these came again
    for i in range(41):
        tell(known, "clicks", f"i{i}", 1.0, HOUR)
    assert (len(known), known.n_forgotten) == (630, 11)  # 1 too many, and 640 / 64
    users = known.values("user", keys(*(f"u{i}" for i in range(300))), ["mine"], HOUR)[:, 0]
    assert np.flatnonzero(np.isnan(users)).tolist() == list(range(11))
    items = known.values("item", keys(*(f"i{i}" for i in range(300))), ["ctr"], HOUR)[:, 0]
    assert items.tolist() == [*(-float(i) for i in range(50)), *map(float, range(50, 300))]
    for i in range(10):
        tell(known, "mine", f"u{i}", 7.0, HOUR, entity="user")
    assert known.values("user", keys("u3", "u11"), ["mine"], HOUR).tolist() == [[7.0], [11.0]]


def test_the_largest_values_of_a_feature_are_those_of_a_search_at_any_time() -> None:
    rng, known = np.random.default_rng(0), latest()
    told: dict[str, tuple[float, int]] = {}
    for _ in range(60):
        for item in rng.choice(50, 3, replace=False):
            value, end_ms = float(rng.integers(20)), int(rng.integers(1, 30)) * HOUR // 10
            if end_ms >= told.get(f"i{item}", (0.0, 0))[1]:
                told[f"i{item}"] = value, end_ms
            tell(known, "ctr", f"i{item}", value, end_ms)
        for at_ms in rng.integers(0, 4 * HOUR, 4).tolist():
            usable = [
                (-value, id_key(item.encode()))
                for item, (value, end_ms) in told.items()
                if end_ms <= at_ms <= end_ms + HOUR
            ]
            for n in (3, 1, 10):
                expected = [key for _, key in sorted(usable)[:n]]
                assert known.top("ctr", n, at_ms).tolist() == expected
    gone = [feature_value_key("ctr", f"i{n}") for n in range(50)]
    known.take(gone, [None] * 50)
    assert not len(known.top("ctr", 5, HOUR))


def test_a_change_waits_for_whoever_reads() -> None:
    known = latest()
    tell(known, "ctr", "a", 0.5, HOUR)
    with known.lock:
        change = threading.Thread(target=tell, args=(known, "ctr", "a", 0.9, 2 * HOUR))
        change.start()
        change.join(0.05)
        assert change.is_alive()
        assert known.values("item", keys("a"), ["ctr"], 2 * HOUR).tolist() == [[0.5]]
    change.join()
    assert known.values("item", keys("a"), ["ctr"], 2 * HOUR).tolist() == [[0.9]]


def test_about_tells_only_of_the_entity_asked_for() -> None:
    known = latest()
    tell(known, "mine", "a", 4.0, HOUR, entity="user")
    tell(known, "ctr", "a", 0.5, HOUR)
    (mine,) = known.about("user", "a", HOUR + 90_000)
    assert (mine.name, mine.value, mine.age_s) == ("mine", 4.0, 90.0)


def test_a_name_of_another_entity_is_refused() -> None:
    with pytest.raises(ValueError, match="no feature of entity 'item'; there are clicks, ctr"):
        latest().values("item", keys("a"), ["mine"], HOUR)


def test_the_topic_is_read_to_its_end() -> None:
    broker, clock, source = MemoryBroker({"features": 2}), ManualClock(), latest()
    for i in range(50):
        message = FeatureValue(
            entity="item", id=f"i{i}", name="ctr", value=0.5, window_start=0, window_end=HOUR,
            computed_ts=HOUR,
        )  # fmt: skip
        key = feature_value_key("ctr", f"i{i}")
        broker.append("features", Record(key, encode(message), HOUR))
    source.load(MemoryReader(broker, ["features"], clock=clock))
    assert len(source) == 50
