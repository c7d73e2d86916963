"""Any classifier or regressor of river as the model that ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import base

from streamer_models.bandits.composition import UNCOMPOSED
from streamer_models.bandits.estimates import IndependentEstimate
from streamer_models.bandits.linear_statistics import REWARD_MAX
from streamer_models.bandits.policies.base import ContextColumns, Policy
from streamer_models.bandits.policies.epsilon_greedy import EpsilonGreedy, EpsilonGreedySettings
from streamer_models.bandits.protocols import Contexts, LearningBandit
from streamer_models.bandits.slates import Draw
from streamer_models.river_adapter.expressions import parse_model, unseeded
from streamer_models.state.table import Keys

Floats = NDArray[np.float64]


class RiverRanker(LearningBandit):
    """A policy that ranks by what a river model predicts, and explores by a uniform share.

    A classifier learns whether an example's reward is above 0, and expects the probability of
    that; a regressor learns and expects the reward. Arms are told apart by their features alone.

    A river model can't unlearn. An amended outcome is learned as a further observation beside the
    first one, and one that is taken back stays learned: both are counted. Event times don't
    matter to it, and what it has learned depends on the order of the examples. It lives in the
    memory of one process: nothing of it is in a store, and learners don't merge theirs.

    Parameters
    ----------
    model
        A classifier or regressor, or a pipeline that ends in one. It is used as it is: what it has
        learned already is kept.
    feature_names
        Of the columns of contexts: the keys under which the model sees them.
    uniform_share, explore_slots
        Settings of the ε-greedy policy that draws the slates.
    policy
        Another one to draw them; it is told of expected rewards alone, so a policy over
        uncertainty (an upper bound, posterior draws) has none to explore by.

    Raises
    ------
    ValueError
        Where the model is something else, or would draw from a generator that has no seed.

    Examples
    --------
    >>> ranker = RiverRanker.from_expression(
    ...     "preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.1))",
    ...     feature_names=["score", "age"],
    ...     uniform_share=0.1,
    ... )
    >>> contexts = np.array([[1.0, 5.0], [-1.0, 2.0]])
    >>> arms, ts_ms = np.array([7, 8], np.uint64), np.zeros(2, np.int64)
    >>> for _ in range(50):
    ...     ranker.update(contexts, arms, np.array([1.0, 0.0]), ts_ms)
    >>> ranker.expected(contexts, arms).round(1).tolist()
    [0.9, 0.1]
    >>> ranker.choose(contexts, arms, k=1, seed=3).propensities.round(2).tolist()
    [0.95]
    """

    name = "river"

    def __init__(
        self,
        model: base.Base,
        *,
        feature_names: Sequence[str],
        uniform_share: float = 0.02,
        explore_slots: Sequence[int] = (),
        policy: Policy[Any] | None = None,
    ) -> None:
        classifies = isinstance(model, base.Classifier)
        if not classifies and not isinstance(model, base.Regressor):
            raise ValueError(f"{model} ranks nothing: it is neither a classifier nor a regressor")
        if unseeded(model):
            raise ValueError(
                f"{', '.join(unseeded(model))} would draw other numbers in every run: give seed=..."
            )
        if len(set(feature_names)) != len(feature_names):
            raise ValueError(f"feature_names {list(feature_names)} must be all different")
        self.model: Any = model
        self.classifies = classifies
        self.feature_names = tuple(feature_names)
        if policy is None:
            settings = EpsilonGreedySettings(
                uniform_share=uniform_share, explore_slots=tuple(explore_slots)
            )
            policy = EpsilonGreedy(settings, ContextColumns.plain(len(feature_names)))
        self.policy = policy
        self.n_amended = 0
        self.n_not_unlearned = 0

    @classmethod
    def from_expression(
        cls,
        expression: str,
        *,
        feature_names: Sequence[str],
        uniform_share: float = 0.02,
        explore_slots: Sequence[int] = (),
    ) -> RiverRanker:
        """A ranker of a model written as
        :func:`~streamer_models.river_adapter.expressions.parse_model` reads it."""
        return cls(
            parse_model(expression),
            feature_names=feature_names,
            uniform_share=uniform_share,
            explore_slots=explore_slots,
        )

    def clone(self) -> RiverRanker:
        """One of the same settings that has learned nothing."""
        return RiverRanker(
            self.model.clone(),
            feature_names=self.feature_names,
            policy=self.policy,
        )

    def expected(self, contexts: Contexts, arms: Keys) -> Floats:
        """``(n_actions,)`` predictions, within ±``REWARD_MAX``; 0 where the model has none."""
        rows = self._rows(contexts)
        if self.classifies:
            predict = self.model.predict_proba_one
            predicted = [predict(row).get(True, 0.0) for row in rows]
        else:
            predicted = [self.model.predict_one(row) or 0.0 for row in rows]
        values = np.array(predicted, dtype=np.float64)
        return np.clip(np.nan_to_num(values, nan=0.0), -REWARD_MAX, REWARD_MAX)

    def choose(self, contexts: Contexts, arms: Keys, k: int, seed: int) -> Draw:
        """Draw a slate; see :meth:`streamer_models.bandits.protocols.LearningBandit.choose`."""
        expected = self.expected(contexts, arms)
        estimate = IndependentEstimate(expected, np.zeros(len(expected)), 0.0)
        return self.policy.draw(estimate, k, seed, UNCOMPOSED)

    def amend(
        self,
        contexts: Contexts,
        arms: Keys,
        before: Floats,
        after: Floats,
        ts_ms: NDArray[np.int64],
    ) -> None:
        """Learn each outcome ``after`` that is new or other than ``before``, in order.

        Raises
        ------
        ValueError
            Where a feature is not finite, a reward is infinite, or the shapes don't fit; nothing
            is learned then.
        """
        rows = self._rows(contexts)
        if not len(rows) == len(before) == len(after):
            raise ValueError(
                f"{len(rows)} contexts, {len(before)} outcomes before and {len(after)} after:"
                " expected one each an example"
            )
        if np.isinf(after).any():
            raise ValueError("a reward is infinite; refuse such events before they are learned")
        for row, old, new in zip(rows, before.tolist(), after.tolist(), strict=True):
            if math.isnan(new):
                self.n_not_unlearned += not math.isnan(old)
            elif new != old:
                self.n_amended += not math.isnan(old)
                self.model.learn_one(row, new > 0 if self.classifies else new)

    def _rows(self, contexts: Contexts) -> list[dict[str, float]]:
        if contexts.ndim != 2 or contexts.shape[1] != len(self.feature_names):
            raise ValueError(
                f"contexts of shape {contexts.shape}: expected (n, {len(self.feature_names)}), a"
                f" column for each of {', '.join(self.feature_names)}"
            )
        if not np.isfinite(contexts).all():
            raise ValueError("a feature is not finite; refuse such contexts")
        names = self.feature_names
        return [dict(zip(names, row, strict=True)) for row in contexts.tolist()]
