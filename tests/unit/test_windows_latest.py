"""What a reader of the features topic knows, and when it knows nothing any more."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.config import Config, FeatureConfig, feature_definitions
from streamer.events import FeatureEntity, FeatureValue, encode, feature_value_key
from streamer.features.latest import LatestFeatures
from streamer.testing import ManualClock, MemoryBroker, MemoryReader, Record

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
    known.apply(feature_value_key(name, entity_id), encode(message))


def test_values_by_entity_and_name() -> None:
    known = latest()
    tell(known, "ctr", "a", 0.25, HOUR)
    tell(known, "clicks", "b", 7.0, HOUR)
    tell(known, "ctr", "a", 0.5, HOUR + 300_000)
    found = known.values("item", ["a", "b", "c"], ["ctr", "clicks"], HOUR + 400_000)
    nan = np.nan
    assert np.array_equal(found, [[0.5, nan], [nan, 7.0], [nan, nan]], equal_nan=True)
    ages = known.ages_s("item", ["a", "b"], ["ctr", "clicks"], HOUR + 400_000)
    assert np.array_equal(ages, [[100.0, nan], [nan, 400.0]], equal_nan=True)


def test_a_value_older_than_its_bound_is_missing_not_zero() -> None:
    known = latest()
    tell(known, "ctr", "a", 0.5, HOUR)
    tell(known, "clicks", "a", 3.0, HOUR)

    def at(at_ms: int) -> list[float]:
        row: list[float] = known.values("item", ["a"], ["ctr", "clicks"], at_ms)[0].tolist()
        return row

    assert at(2 * HOUR) == [0.5, 3.0]
    assert np.isnan(at(2 * HOUR + 1)).tolist() == [True, False]
    assert np.isnan(at(HOUR - 1)).all()
    assert [each.stale for each in known.about("item", "a", 3 * HOUR)] == [False, True]


def test_an_entity_that_left_its_window_is_forgotten() -> None:
    known = latest()
    tell(known, "ctr", "a:b", 0.5, HOUR)
    known.apply(b"ctr:a:b", None)
    known.apply(b"ctr:never", None)
    assert len(known) == 0


def test_an_older_window_does_not_replace_a_newer_one() -> None:
    known = latest()
    tell(known, "ctr", "a", 0.5, 2 * HOUR)
    tell(known, "ctr", "a", 0.1, HOUR)
    assert known.values("item", ["a"], ["ctr"], 2 * HOUR).tolist() == [[0.5]]


def test_what_is_known_is_bounded_and_rubbish_is_counted() -> None:
    known = latest(values_max=2)
    for entity_id in ("a", "b", "c"):
        tell(known, "ctr", entity_id, 0.5, HOUR)
    known.apply(b"ctr:x", b"rubbish")
    assert (len(known), known.n_forgotten, known.n_rejected) == (2, 1, 1)
    assert np.isnan(known.values("item", ["a"], ["ctr"], HOUR)).all()


def test_about_tells_only_of_the_entity_asked_for() -> None:
    known = latest()
    tell(known, "mine", "a", 4.0, HOUR, entity="user")
    tell(known, "ctr", "a", 0.5, HOUR)
    (mine,) = known.about("user", "a", HOUR + 90_000)
    assert (mine.name, mine.value, mine.age_s) == ("mine", 4.0, 90.0)


def test_a_name_of_another_entity_is_refused() -> None:
    with pytest.raises(ValueError, match="no feature of entity 'item'; there are clicks, ctr"):
        latest().values("item", ["a"], ["mine"], HOUR)


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
