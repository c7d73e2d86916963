"""What events are worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.config import RewardConfig, RewardsConfig
from streamer.events import EVENT_CODES, EVENT_TYPES, EventType
from streamer.learner.rewards import rewards


def reward(event_type: EventType, value: float, config: RewardsConfig | None = None) -> float:
    types = np.array([EVENT_CODES[event_type]], np.int8)
    return float(rewards(config or RewardsConfig(), types, np.array([value]))[0])


@pytest.mark.parametrize(
    ("event_type", "value", "expected"),
    [
        ("impression", math.nan, math.nan),
        ("click", math.nan, 1.0),
        ("click", 17.0, 1.0),
        ("dislike", math.nan, -1.0),
        ("watch", math.nan, 1.0),
        ("watch", 0.25, 0.25),
        ("watch", 3.0, 1.0),
        ("watch", -9.0, -1.0),
        ("rating", 5.0, 1.0),
        ("rating", 2.5, 0.0),
        ("rating", 1.25, -0.5),
        ("rating", 0.0, -1.0),
        ("skip", 0.9, -0.5),
    ],
)
def test_defaults(event_type: EventType, value: float, expected: float) -> None:
    assert reward(event_type, value) == pytest.approx(expected, abs=0, nan_ok=True)


def test_a_falling_range_turns_the_value_around() -> None:
    config = RewardsConfig(skip=RewardConfig(weight=2.0, value_range=(10.0, 0.0)))
    assert reward("skip", 10.0, config) == 0.0
    assert reward("skip", 0.0, config) == 2.0


@given(
    st.lists(
        st.tuples(st.sampled_from(EVENT_TYPES), st.just(math.nan) | st.floats(allow_infinity=False))
    )
)
def test_a_batch_is_its_events_and_no_reward_passes_its_weight(
    batch: list[tuple[EventType, float]],
) -> None:
    types = np.array([EVENT_CODES[each] for each, _ in batch], np.int8)
    found = rewards(RewardsConfig(), types, np.array([value for _, value in batch], np.float64))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [reward(*each) for each in batch])  # NaN equals NaN
    weights = np.array(
        [abs(getattr(RewardsConfig(), event_type).weight) for event_type, _ in batch]
    )
    assert (np.isnan(found) == (weights == 0)).all()
    assert (np.abs(found) <= weights)[weights > 0].all()
