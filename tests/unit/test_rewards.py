"""What events are worth."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.config import Config, EventConfig
from streamer.events import DEFAULT_TYPES
from streamer.learner.rewards import Rewards

DEFAULT = Config().events


def reward(event_type: str, value: float, events: Mapping[str, EventConfig] = DEFAULT) -> float:
    rewards = Rewards(events)
    types = np.array([rewards.event_types.codes[event_type]], np.int8)
    return float(rewards(types, np.array([value]))[0])


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
def test_defaults(event_type: str, value: float, expected: float) -> None:
    assert reward(event_type, value) == pytest.approx(expected, abs=0, nan_ok=True)


def test_a_falling_range_turns_the_value_around() -> None:
    events = {**DEFAULT, "skip": EventConfig(weight=2.0, value_range=(10.0, 0.0))}
    assert reward("skip", 10.0, events) == 0.0
    assert reward("skip", 0.0, events) == 2.0


def test_added_types_have_their_own_rewards_and_leave_the_others_alone() -> None:
    added = {"save": EventConfig(weight=2.0), "bookmark": EventConfig(weight=0.5)}
    events = {**DEFAULT, **added}
    assert reward("save", math.nan, events) == 2.0
    assert reward("bookmark", 9.0, events) == 0.5
    for name in DEFAULT_TYPES:
        assert reward(name, 0.75, events) == pytest.approx(reward(name, 0.75), nan_ok=True)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(DEFAULT_TYPES), st.just(math.nan) | st.floats(allow_infinity=False)
        )
    )
)
def test_a_batch_is_its_events_and_no_reward_passes_its_weight(
    batch: list[tuple[str, float]],
) -> None:
    rewards = Rewards(DEFAULT)
    types = np.array([rewards.event_types.codes[each] for each, _ in batch], np.int8)
    found = rewards(types, np.array([value for _, value in batch], np.float64))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [reward(*each) for each in batch])  # NaN equals NaN
    weights = np.array([abs(DEFAULT[event_type].weight) for event_type, _ in batch])
    assert (np.isnan(found) == (weights == 0)).all()
    assert (np.abs(found) <= weights)[weights > 0].all()
