"""Feedback brings outcomes by objective, positions and propensities, beside rewards."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamer.learner.join.answers import DecidedBatch
from streamer.learner.join.join import Join, JoinSettings
from streamer.learner.join.shown import Combine, Shown
from streamer_models.bandits.objectives import OUTCOME_MAX
from streamer_models.state.inputs import Examples
from tests.joins import SETTINGS, START_MS, Answer, answers_at, decided

CLICK, BUY = 0b01, 0b10
BOTH = replace(SETTINGS, objectives=("click", "buy"))
_NAN = (float("nan"), float("nan"))


class _Joined:
    """A join of one decision, whose outcomes are followed change by change."""

    def __init__(self, settings: JoinSettings = BOTH, shown: Shown | None = None) -> None:
        self.join = Join(settings)
        self.shown = shown or decided("r", expected=[0.5, 0.25, 0.1])
        self.gains: dict[str, tuple[float, ...]] = {}
        self.examples: list[Examples] = []
        self._log: list[Answer | None] = []
        self._follow(self.join.take(DecidedBatch([self.shown], 1), None).examples)

    def answer(self, *answers: Answer) -> dict[str, tuple[float, ...]]:
        """Take events, and return what items have brought by now."""
        start = len(self._log)
        self._log += answers
        taken = answers_at(self._log, start, len(self._log))
        self._follow(self.join.take(None, taken).examples)
        return self.gains

    def _follow(self, examples: Examples) -> None:
        self.examples.append(examples)
        if examples.gains is None:
            return
        rows = zip(examples.arm_ids, examples.gains.before, examples.gains.after, strict=True)
        for item_id, before, after in rows:
            np.testing.assert_array_equal(before, self.gains.get(item_id, _NAN))
            self.gains[item_id] = tuple(after.tolist())


def _at(ms: int, item_id: str, serves: int, **more: object) -> Answer:
    return Answer(START_MS + ms, "r", item_id=item_id, serves=serves, **more)  # type: ignore[arg-type]


def test_columns_that_some_batches_lack_are_cut_where_they_are_there() -> None:
    joined = _Joined()
    joined.answer(_at(50, "b", CLICK))
    *_, examples = joined.examples
    plain = replace(examples, gains=None)
    assert plain.take(np.array([2, 0])).gains is None
    cut = examples.slice(1, 3)
    assert cut.gains is not None
    assert cut.gains.after.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert plain.slice(1, 3).gains is None


def test_what_was_not_taken_brings_nothing_and_later_events_add_to_it() -> None:
    joined = _Joined()
    assert joined.answer(_at(50, "b", CLICK)) == {"a": (0, 0), "b": (1, 0), "c": (0, 0)}
    assert joined.answer(_at(900, "b", BUY, reward=3.0))["b"] == (1, 1)
    assert joined.answer(_at(950, "b", BUY, reward=3.0, share=0.5))["b"] == (1, 1.5)
    assert joined.join.counts.gained == {"click": 1.0, "buy": 1.5}


def test_an_event_without_a_reward_brings_what_it_serves() -> None:
    joined = _Joined()
    assert joined.answer(_at(50, "b", BUY, reward=np.nan)) == {
        "a": (0, 0),
        "b": (0, 1),
        "c": (0, 0),
    }
    assert joined.join.counts.n_outcomes == 3
    assert joined.join.counts.n_positive == 0
    # A reward that stays the same is no amended one.
    assert joined.answer(_at(60, "b", CLICK, reward=np.nan))["b"] == (1, 1)
    assert joined.join.counts.n_amended == 0
    *_, last = joined.examples
    assert last.before.tolist() == last.after.tolist() == [0.0]


@pytest.mark.parametrize(("combine", "brought"), [("sum", 1.25), ("max", 1.0), ("first", 0.25)])
def test_events_of_one_objective_are_combined_as_rewards_are(
    combine: Combine, brought: float
) -> None:
    joined = _Joined(replace(BOTH, combine=combine))
    events = [_at(50, "b", CLICK, share=0.25), _at(60, "b", CLICK | BUY, share=1.0)]
    assert joined.answer(*events)["b"] == (brought, 1.0)


def test_what_an_item_brings_is_bounded() -> None:
    joined = _Joined()
    joined.answer(*(_at(50 + n, "b", CLICK) for n in range(20)))
    assert joined.gains["b"] == (OUTCOME_MAX, 0)


def test_a_slate_that_nobody_may_have_seen_brings_nothing() -> None:
    joined = _Joined(replace(BOTH, unanswered=False))
    joined.answer(Answer(START_MS + BOTH.window_ms + 1, "other", user_id="other"))
    assert joined.gains == {}


def test_expected_scores_are_compared_with_the_weighed_outcomes() -> None:
    weighed = replace(decided("r", expected=[0.5, 0.25, 0.1]), weights={"buy": 2.0})
    joined = _Joined(shown=weighed)
    joined.answer(_at(50, "b", CLICK, reward=7.0), _at(60, "b", BUY, reward=9.0))
    counts = joined.join.counts
    assert (counts.observed_sums.sum(), counts.reward_sum) == (2.0, 16.0)
    assert counts.expected_sums.sum() == pytest.approx(0.85)
    joined.answer(Answer(START_MS + BOTH.window_ms + 1, "other", user_id="other"))
    assert joined.join.counts.take_foreseen().observed.tolist() == [0.0, 2.0, 0.0]


def test_a_score_of_objectives_that_are_not_known_is_compared_with_nothing() -> None:
    weighed = replace(decided("r", expected=[0.5, 0.25, 0.1]), weights={"gone": 2.0})
    joined = _Joined(shown=weighed)
    joined.answer(_at(50, "b", CLICK))
    assert joined.join.counts.n_foreseen.sum() == 0
    assert joined.join.counts.n_outcomes == 3


def test_where_an_item_stood_is_learned_with_its_outcome() -> None:
    settings = replace(SETTINGS, feature_names=("bias", "position"))
    shown = replace(decided("r"), pinned_at=(0, 2))
    joined = _Joined(settings, shown)
    joined.answer(_at(50, "b", 0))
    *_, examples = joined.examples
    slots = dict(zip(examples.arm_ids, examples.features[:, 1].tolist(), strict=True))
    assert slots == pytest.approx({"a": np.log(2), "b": np.log(4), "c": np.log(5)})
    assert examples.features[:, 0].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(("most", "weights"), [(1.0, None), (4.0, [2.0, 4.0, 1.0])])
def test_what_was_improbable_counts_as_more_examples_where_that_is_asked_for(
    most: float, weights: list[float] | None
) -> None:
    settings = replace(SETTINGS, propensity_weight_max=most)
    joined = _Joined(settings, replace(decided("r"), propensities=[0.5, 0.01, 1.0]))
    joined.answer(_at(50, "b", 0))
    *_, examples = joined.examples
    assert (examples.weights is None) == (weights is None)
    if examples.weights is not None:
        assert examples.arm_ids == ["a", "b", "c"]
        assert examples.weights.tolist() == weights
