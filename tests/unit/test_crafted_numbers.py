"""No number that a message may carry makes a sum no number any more."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.config import Config
from streamer.errors import BadMessage
from streamer.events import Decision, FeatureValue, decode_feature_value, encode
from streamer.events.messages import NUMBER_MAX
from streamer.learner.join.answers import DecidedBatch, decode_decisions
from streamer.learner.join.counts import JoinCounts
from streamer.learner.join.shown import Shown
from streamer.learner.rewards import Rewards
from streamer.protocols import MessageBatch
from tests.unit.ope_files import decision


def decided(*decisions: Decision) -> tuple[DecidedBatch, list[str]]:
    """Decisions as a learner decodes them, and the reasons of its letters."""
    n = len(decisions)
    payloads: list[bytes | None] = [encode(each) for each in decisions]
    batch = MessageBatch("decisions", 0, payloads, np.arange(n), np.full(n, -1))
    found, rejected = decode_decisions(batch, ("one", "number"))
    return found, [each.reason for each in rejected]


@pytest.mark.parametrize("expected", [1e308, -1e308, 1.1 * NUMBER_MAX])
def test_an_expected_reward_beyond_the_bound_is_a_letter_that_says_it(expected: float) -> None:
    found, reasons = decided(decision("r", ["a", "b"], expected=[0.5, expected]))
    assert not found.decisions
    (reason,) = reasons
    assert reason.startswith("field 'expected[1]': ")
    assert f"{'-' if expected < 0 else ''}1e+18" in reason.partition("refused")[2]


def _expected_of(shown: Shown, position: int) -> float:
    assert shown.expected is not None
    return float(shown.expected[position])


def test_an_expected_reward_that_no_reward_reaches_does_not_drown_the_others() -> None:
    crafted = [NUMBER_MAX, -NUMBER_MAX]
    found, reasons = decided(*[decision(f"r{at}", ["a", "b"], expected=crafted) for at in range(9)])
    honest, _ = decided(decision("r", ["a", "b"], expected=[0.5, 0.25]))
    assert reasons == []
    counts = JoinCounts()
    for shown in (*found.decisions, *honest.decisions):
        for position in range(2):
            counts.foreseen(_expected_of(shown, position), np.nan, 1.0)
    assert counts.expected_sums.tolist() == [-9_000.0, 0, 0, 0, 0, 0.25, 0, 0.5, 9_000.0]


@pytest.mark.parametrize("value", [1e308, -1e308])
def test_a_feature_beyond_the_bound_is_refused(value: float) -> None:
    told = FeatureValue(
        entity="user", id="u", name="f", value=value, window_start=0, window_end=1, computed_ts=1
    )
    with pytest.raises(BadMessage, match=r"field 'value': .*1e\+308 is refused: .*1e\+18"):
        decode_feature_value(encode(told))


def test_a_value_beyond_all_ranges_is_worth_the_nearest_bound() -> None:
    rewards = Rewards(Config().events)
    codes = [rewards.event_types.codes[name] for name in ("rating", "rating", "watch")]
    types, values = np.array(codes, np.int8), np.array([1.7e308, -1.7e308, 1.7e308])
    assert rewards(types, values).tolist() == [1.0, -1.0, 1.0]
    assert rewards.clipped(types, values).all()
