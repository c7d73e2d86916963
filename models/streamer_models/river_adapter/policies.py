"""Our bandit policies as a regressor and as a contextual bandit of river."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import bandit, base, stats

from streamer_models.bandits.in_memory import published_bandit
from streamer_models.bandits.linear_statistics import FEATURE_MAX
from streamer_models.bandits.protocols import LearningBandit
from streamer_models.state.ids.id_table import id_key
from streamer_models.state.seeding import stream
from streamer_models.state.table import Keys

_MS = 1_000


class FeatureColumns:
    """river's dicts of features → rows of numbers for a policy.

    Column 0 is a constant 1. A feature gets the next free column when it is first learned from;
    where none is free it is left out and counted, so the rows never grow. Features that are absent
    (or no numbers) are 0; values beyond ±``FEATURE_MAX`` are clipped, so scale them before.

    Examples
    --------
    >>> columns = FeatureColumns(3)
    >>> columns.add({"age": 0.5, "name": "ann", "n": 2, "z": 1.0})
    >>> columns.row({"n": 100.0, "age": -1, "new": 3.0}).tolist(), columns.n_left_out
    ([1.0, -1.0, 8.0], 1)
    """

    def __init__(self, n_features: int) -> None:
        if n_features < 1:
            raise ValueError(f"n_features={n_features} must be at least 1, for the constant")
        self.n_features = n_features
        self.n_left_out = 0
        self._column_of: dict[Hashable, int] = {}

    def add(self, x: Mapping[Any, Any]) -> None:
        """Give columns to features not met before."""
        for name in x:
            if name not in self._column_of and isinstance(x[name], Real):
                if len(self._column_of) == self.n_features - 1:
                    self.n_left_out += 1
                else:
                    self._column_of[name] = len(self._column_of) + 1

    def row(self, x: Mapping[Any, Any]) -> NDArray[np.float64]:
        """``(n_features,)`` of one dict; changes nothing."""
        row = np.zeros(self.n_features)
        row[0] = 1.0
        for name, column in self._column_of.items():
            value = x.get(name, 0.0)
            if isinstance(value, Real):
                row[column] = value
        return np.clip(np.nan_to_num(row), -FEATURE_MAX, FEATURE_MAX)


class PolicyRegressor(base.Regressor):
    """What a policy expects, as a regressor: ``y`` is the reward of an action with features ``x``.

    Parameters
    ----------
    new_policy
        Makes a policy that has learned nothing, another one at each call, such as
        ``functools.partial`` of :func:`~streamer_models.bandits.in_memory.published_bandit`. So a
        clone starts anew.
    n_features
        Columns of what the policy is given, the constant included; see :class:`FeatureColumns`.
    arm
        Name of the feature that says which arm it is; it gets no column. Empty: all examples are
        of one arm.

    Examples
    --------
    >>> model = PolicyRegressor(partial(published_bandit, "greedy"), arm="item")
    >>> model.learn_one({"item": "jazz"}, 1.0)
    >>> [round(model.predict_one({"item": item}), 3) for item in ("jazz", "rock")]
    [0.5, 0.0]
    """

    def __init__(
        self, new_policy: Callable[[], LearningBandit], n_features: int = 1, arm: str = ""
    ) -> None:
        self.new_policy = new_policy
        self.n_features = n_features
        self.arm = arm
        self._policy = new_policy()
        self._columns = FeatureColumns(n_features)
        self._n_learned = 0

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        """What river's own checks make it with."""
        yield {"new_policy": partial(published_bandit, "greedy")}

    def learn_one(self, x: dict[Any, Any], y: Any) -> None:
        """Learn the reward of one action. Where evidence fades, an example lasts a second."""
        features = self._features(x)
        self._columns.add(features)
        self._n_learned += 1
        self._policy.update(
            self._columns.row(features)[None],
            self._arms(x),
            np.array([float(y)]),
            np.array([self._n_learned * _MS], dtype=np.int64),
        )

    def predict_one(self, x: dict[Any, Any]) -> float:
        """The reward that the policy expects, without optimism."""
        contexts = self._columns.row(self._features(x))[None]
        return float(self._policy.expected(contexts, self._arms(x))[0])

    def _features(self, x: dict[Any, Any]) -> dict[Any, Any]:
        return {name: value for name, value in x.items() if name != self.arm} if self.arm else x

    def _arms(self, x: dict[Any, Any]) -> Keys:
        return _keys([x.get(self.arm)])


class PolicyBandit(bandit.base.ContextualPolicy):
    """A policy as a contextual bandit of river: ``pull(arm_ids, context)``, ``update(...)``.

    All arms of a pull have one context, so a linear policy needs a model for each arm (its
    disjoint form).

    Parameters
    ----------
    new_policy, n_features
        As of :class:`PolicyRegressor`.
    reward_obj, reward_scaler, burn_in
        river's own: what it reports of each arm, and how often each is pulled first.
    seed
        Of the draws.

    Examples
    --------
    >>> policy = PolicyBandit(partial(published_bandit, "ucb1", alpha=0.1), seed=1)
    >>> for _ in range(50):
    ...     arm = policy.pull(["jazz", "rock"], context={})
    ...     policy.update(arm, {}, float(arm == "rock"))
    >>> policy.pull(["jazz", "rock"], context={})
    'rock'
    """

    _REQUIRES_UNIVARIATE_REWARD = True

    def __init__(
        self,
        new_policy: Callable[[], LearningBandit],
        n_features: int = 1,
        reward_obj: Any = None,
        reward_scaler: Any = None,
        burn_in: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(reward_obj or stats.Mean(), reward_scaler, burn_in)
        self.new_policy = new_policy
        self.n_features = n_features
        self.seed = seed
        self._policy = new_policy()
        self._columns = FeatureColumns(n_features)
        self._n_pulled = 0

    def _pull(self, arm_ids: Sequence[Any], context: dict[Any, Any] | None) -> Any:  # type: ignore[override]
        contexts = np.tile(self._columns.row(context or {}), (len(arm_ids), 1))
        seed = stream(np.uint64(self.seed), np.uint64(0), np.uint64(self._n_pulled))
        self._n_pulled += 1
        return arm_ids[self._policy.choose(contexts, _keys(arm_ids), 1, int(seed)).order[0]]

    def update(
        self, arm_id: Any, context: dict[Any, Any] | None, *reward_args: Any, **reward_kwargs: Any
    ) -> None:
        """Learn the reward of an arm that was pulled in ``context``."""
        super().update(arm_id, context, *reward_args, **reward_kwargs)  # type: ignore[no-untyped-call]
        features = context or {}
        self._columns.add(features)
        self._policy.update(
            self._columns.row(features)[None],
            _keys([arm_id]),
            np.array([float(reward_args[0])]),
            np.array([self._n * _MS], dtype=np.int64),
        )


def _keys(arm_ids: Sequence[Hashable]) -> Keys:
    return np.array([id_key(repr(arm_id).encode()) for arm_id in arm_ids], dtype=np.uint64)
