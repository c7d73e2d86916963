"""The replica's statistics, as policies read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from streamer.config import Config
from streamer.errors import ConfigError
from streamer.ranking.columns import feature_names
from streamer.ranking.recall.channel import Scores
from streamer.replica.arms import FADED, POSITIVE, REWARD, SHOWN, BanditView
from streamer_models.bandits.arm_counts import Counts
from streamer_models.bandits.arm_estimates import arm_estimates
from streamer_models.bandits.composition import UNCOMPOSED, Composition
from streamer_models.bandits.linear_posterior import LinearPosterior, LinearPrior
from streamer_models.bandits.linear_statistics import (
    LinearStatistics,
    fading_statistics,
    statistics,
    statistics_width,
)
from streamer_models.bandits.objectives import weighed
from streamer_models.bandits.policies.base import CountedLearned, LinearLearned
from streamer_models.bandits.protocols import Contexts
from streamer_models.state.decayed_cells import CELLS_WIDTH
from streamer_models.state.table import Keys

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a policy is given beside the features.

    Attributes
    ----------
    bandit
        State of the bandit.
    keys
        ``(n,)`` of the candidates.
    at_ms
        Time that counts are read at.
    scores
        Channel's name → ``(n,)`` scores as it returned them.
    raised
        ``(n,)`` by how many standard deviations rules boost each candidate; None: none at all.
    composition
        What the places of the slate ask of each other.
    """

    bandit: BanditView
    keys: Keys
    at_ms: int
    scores: Mapping[str, Scores] = field(default_factory=dict)
    raised: Floats | None = None
    composition: Composition = UNCOMPOSED


class LiveLinear(LinearLearned):
    """Statistics of linear models in the replica: of rewards, or of objectives as they are weighed.

    It remembers the last posterior, which is solved once for all versions that share its
    statistics; for use by one thread at a time.
    """

    def __init__(self, config: Config) -> None:
        self._half_life_ms = round(1000 * config.bandit.half_life_s)
        self._n_features = len(feature_names(config))
        self._weights = np.array([each.weight for each in config.objectives.values()])
        self._bandit: BanditView | None = None
        self._solved: _Solved | None = None

    def of(self, knowledge: Knowledge) -> LiveLinear:
        """Read the statistics of one version from now on."""
        self._bandit = knowledge.bandit
        return self

    def posterior(self, prior: LinearPrior) -> LinearPosterior:
        return self._solve(prior).posterior

    def arm_estimates(
        self, x: Contexts, arms: Keys, prior: LinearPrior, mean: Floats
    ) -> tuple[Floats, Floats]:
        bandit = self._version()
        known, rows = bandit.arms.statistics(arms)
        return arm_estimates(
            x,
            known,
            rows,
            prior_mean=mean,
            prior_precisions=self._solve(prior).precisions,
            half_life_ms=self._half_life_ms,
            at_ms=bandit.watermark_ms,
        )

    def by_objective(self, prior: LinearPrior) -> list[LinearPosterior]:
        """Return a posterior of each objective: their weighted sum has the mean of the score's."""
        bandit, sought = self._version(), np.maximum(self._weights, 0.0)
        at_ms = bandit.watermark_ms if self._half_life_ms else 0
        joint = self._read(bandit.objectives, at_ms)
        each = np.eye(len(sought))
        return [
            replace(prior, mean=prior.mean * (sought[j] > 0) / (sought.sum() or 1.0)).posterior(
                weighed(joint, each[j])
            )
            for j in range(len(sought))
        ]

    def _version(self) -> BanditView:
        assert self._bandit is not None, "no version was given"
        return self._bandit

    def _solve(self, prior: LinearPrior) -> _Solved:
        bandit = self._version()
        at_ms = bandit.watermark_ms if self._half_life_ms else 0
        row = bandit.objectives if len(self._weights) else bandit.statistics
        solved = self._solved
        if solved is None or not solved.is_of(row, at_ms, prior):
            seen = self._read(row, at_ms)
            if len(self._weights):
                seen = weighed(seen, self._weights)
            solved = _Solved(row, at_ms, prior, prior.posterior(seen), prior.arm_precisions(seen))
            self._solved = solved
        return solved

    def _read(self, row: NDArray[np.int64] | None, at_ms: int) -> LinearStatistics:
        d = self._n_features + len(self._weights)
        if row is None:
            return LinearStatistics(0.0, 0.0, np.zeros(d), np.zeros((d, d)))
        width = statistics_width(d) * (CELLS_WIDTH if self._half_life_ms else 1)
        assert len(row) == width, f"{len(row)} statistics are learned, {width} are configured"
        if not self._half_life_ms:
            return statistics(row, d)
        return fading_statistics(row, d, half_life_ms=self._half_life_ms, at_ms=at_ms)


@dataclass(frozen=True, slots=True, eq=False)
class _Solved:
    """A posterior, the precisions of its prior, and what it was solved from."""

    statistics: NDArray[np.int64] | None
    at_ms: int
    prior: LinearPrior
    posterior: LinearPosterior
    precisions: Floats

    def is_of(self, statistics: NDArray[np.int64] | None, at_ms: int, prior: LinearPrior) -> bool:
        same = self.statistics is statistics and self.prior is prior
        return same and self.at_ms == at_ms


class LiveCounts(CountedLearned):
    """Outcomes by item in the replica; decayed by ``bandit.half_life_s``, which must be one of
    ``popularity.half_lives_s`` then. Decayed outcomes are known as positive or not: a positive one
    is a reward of 1.

    Raises
    ------
    ConfigError
        Where no counts with this half-life are kept.
    """

    def __init__(self, config: Config) -> None:
        half_life_s, kept = config.bandit.half_life_s, list(config.popularity.half_lives_s)
        if half_life_s and half_life_s not in kept:
            raise ConfigError(
                f"bandit.half_life_s = {half_life_s:g}: {config.bandit.policy} counts outcomes by"
                f" popularity.half_lives_s = {kept}; choose one of them, or 0"
            )
        self._half_life = kept.index(half_life_s) if half_life_s else None
        self._knowledge: Knowledge | None = None

    def of(self, knowledge: Knowledge) -> LiveCounts:
        """Read the counts of one version, as of one time, from now on."""
        self._knowledge = knowledge
        return self

    def counts(self, arms: Keys) -> Counts:
        bandit, at_ms = self._version()
        if self._half_life is None:
            return _counts(bandit.arms.outcomes(arms))
        shown, positive = (v[:, self._half_life] for v in bandit.arms.faded(arms, at_ms))
        return Counts(shown, positive, positive)

    def total(self) -> Counts:
        bandit, at_ms = self._version()
        if self._half_life is None:
            return _counts(bandit.arms.totals[None, :FADED])
        shown, positive = (v[[self._half_life]] for v in bandit.arms.faded_totals(at_ms))
        return Counts(shown, positive, positive)

    def _version(self) -> tuple[BanditView, int]:
        assert self._knowledge is not None, "no version was given"
        return self._knowledge.bandit, self._knowledge.at_ms


def _counts(outcomes: Floats) -> Counts:
    return Counts(outcomes[:, SHOWN], outcomes[:, POSITIVE], outcomes[:, REWARD])
