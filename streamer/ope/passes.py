"""What a policy makes of the rows of a log: the passes behind the estimators."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from streamer.errors import ConfigError, LogRefused
from streamer.ope.bandit_log import BanditLog, Floats, Indices, LoggedRow, Survey
from streamer.ope.evaluation_policies import EvaluationPolicy
from streamer_models.evaluation.ope import CrossFittedRidge, WeighedLog

_BATCH = 1_024

Watch = Callable[[str, int, int], None]
"""What is being done, how far it is, and how far it goes."""


def match(
    log: BanditLog,
    survey: Survey,
    policy: EvaluationPolicy,
    *,
    matches: int | None,
    seed: int,
    watch: Watch,
) -> WeighedLog:
    """Replay matching (Li et al. 2011, Algorithm 2): the rows up to the last match wanted.

    The policy learns from the rows that it matched, as it would have seen them live.

    Raises
    ------
    LogRefused
        When there are fewer matches than wanted.
    """
    rng = np.random.default_rng(seed)
    matched = np.zeros(len(survey), dtype=bool)
    n_matched = n_read = 0
    for row in _watched(log, survey, "matching", watch, features=policy.needs_features):
        drawn = rng.random() < policy.probabilities(row).cumsum()
        if drawn.any() and drawn.argmax() == row.chosen:
            matched[n_read] = True
            policy.learn(row, drawn=True)
            n_matched += 1
        n_read += 1
        if n_matched == matches:
            break
    if matches is not None and n_matched < matches:
        raise LogRefused(
            f"the policy matched {n_matched:,} of {n_read:,} rows, not the {matches:,} of"
            " --matches; ask for fewer, or give a longer log"
        )
    return WeighedLog(
        rewards=survey.rewards[:n_read],
        propensities=survey.propensities[:n_read],
        target=np.zeros(n_read),
        matched=matched[:n_read],
        requests=survey.requests[:n_read],
    )


def weigh(
    log: BanditLog,
    survey: Survey,
    policy: EvaluationPolicy,
    model: RewardModel | None,
    *,
    watch: Watch,
) -> WeighedLog:
    """All rows with the policy's probabilities and the reward model's expectations.

    The policy learns from every row, after it was asked.
    """
    target = np.zeros(len(survey))
    expectations = np.zeros((2, len(survey)))
    features = policy.needs_features or model is not None
    for i, row in enumerate(_watched(log, survey, "weighing", watch, features=features)):
        probabilities = policy.probabilities(row)
        target[i] = probabilities[row.chosen]
        if model is not None:
            expected = model.expected(row)
            expectations[:, i] = expected[row.chosen], probabilities @ expected
        policy.learn(row)
    return WeighedLog(
        rewards=survey.rewards,
        propensities=survey.propensities,
        target=target,
        model_logged=None if model is None else expectations[0],
        model_target=None if model is None else expectations[1],
        requests=survey.requests,
    )


class RewardModel:
    """`CrossFittedRidge` over the rows of a log, folded by request."""

    def __init__(
        self, log: BanditLog, survey: Survey, *, n_folds: int, seed: int, watch: Watch
    ) -> None:
        if not 2 <= n_folds <= survey.n_requests:
            fewer = f"--folds {survey.n_requests}, or " if survey.n_requests >= 2 else ""
            raise ConfigError(
                f"folds={n_folds} must be from 2 to the log's {survey.n_requests} requests; take"
                f" {fewer}--reward-model none, which goes without dm, dr and switch-dr"
            )
        self._model = CrossFittedRidge(
            len(survey.actions), len(log.feature_names), len(survey.positions), n_folds=n_folds
        )
        # Equally many requests a fold, at random.
        self._folds: Indices = np.random.default_rng(seed).permutation(survey.n_requests) % n_folds
        self._batch: list[Floats] = []
        self._n_read = 0
        for row in _watched(log, survey, "fitting the reward model", watch, features=True):
            self._batch.append(row.features[row.chosen])
            if len(self._batch) == _BATCH:
                self._learn(survey)
        self._learn(survey)
        self._model.fit()

    def expected(self, row: LoggedRow) -> NDArray[np.float64]:
        """``(c,)`` rewards of a row's candidates, by the fit that has not seen its request."""
        fold = int(self._folds[row.request])
        return self._model.predict(fold, row.candidates, row.slot, row.features)

    def _learn(self, survey: Survey) -> None:
        if not self._batch:
            return
        rows = slice(self._n_read, self._n_read + len(self._batch))
        self._model.add(
            self._folds[survey.requests[rows]],
            survey.chosen[rows],
            survey.slots[rows],
            np.array(self._batch),
            survey.rewards[rows],
        )
        self._n_read += len(self._batch)
        self._batch = []


def _watched(
    log: BanditLog, survey: Survey, doing: str, watch: Watch, *, features: bool
) -> Iterator[LoggedRow]:
    for number, row in enumerate(log.rows(features=features), 1):
        yield row
        if number % _BATCH == 0 or number == len(survey):
            watch(doing, number, len(survey))
