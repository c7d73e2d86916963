"""From what the bandit has learned to what a policy believes of the candidates at hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.config import Config
from streamer.errors import ConfigError
from streamer.ranking.columns import feature_names, prior_mean
from streamer.replica.arms import FADED, POSITIVE, REWARD, SHOWN, BanditView
from streamer.scorer.policy.arm_models import arm_beliefs
from streamer.scorer.policy.beliefs import Belief, BetaBelief, Floats, IndependentBelief, Values
from streamer_models.bandits.linear_posterior import LinearPosterior, feature_variances
from streamer_models.bandits.linear_statistics import (
    LinearStatistics,
    fading_statistics,
    statistics,
    statistics_width,
)
from streamer_models.counters.decay import CELLS_WIDTH
from streamer_models.state.table import Keys


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a policy may know beside the features: the bandit's state, and the candidates' keys."""

    bandit: BanditView
    keys: Keys
    at_ms: int


Believe = Callable[[Values, Knowledge], Belief]


class LinearBeliefs:
    """The posterior of the model that all items share, and with ``bandit.form = "disjoint"`` one
    more for each item, whose prior mean is the shared posterior's.

    Before anything is learned the mean is the blend (``prior_mean``), and rewards are taken to
    stray from the model by no more than ``bandit.prior_reward``: with a wider guess, exploration
    would drown the blend. ``bandit.prior_strength`` outcomes weigh this guess against what shows.

    It remembers the last posterior, which is solved once for all versions that share its
    statistics; for use by one thread at a time.
    """

    def __init__(self, config: Config) -> None:
        bandit = config.bandit
        self._disjoint = bandit.form == "disjoint"
        self._prior_mean = prior_mean(config)
        self._strength = bandit.prior_strength
        self._prior_reward = bandit.prior_reward
        self._half_life_ms = round(1000 * bandit.half_life_s)
        self._n_features = len(feature_names(config))
        self._solved_for: tuple[NDArray[np.int64] | None, int] | None = None
        self._solved = LinearPosterior(np.zeros(0), np.zeros((0, 0)), 0.0)
        self._variances = np.zeros(0)

    def __call__(self, x: Values, knowledge: Knowledge) -> Belief:
        shared = self.posterior(knowledge.bandit)
        return self._by_arm(x, knowledge, shared) if self._disjoint else shared

    def posterior(self, bandit: BanditView) -> LinearPosterior:
        """Of the shared model."""
        at_ms = bandit.watermark_ms if self._half_life_ms else 0
        solved_for = self._solved_for
        if solved_for is None or solved_for[0] is not bandit.statistics or solved_for[1] != at_ms:
            self._solve(self._read(bandit.statistics, at_ms))
            self._solved_for = bandit.statistics, at_ms
        return self._solved

    def _solve(self, seen: LinearStatistics) -> None:
        posterior = LinearPosterior.of(
            seen, prior_mean=self._prior_mean, prior_strength=self._strength, standardize=True
        )
        # Undoes the one pseudo-observation of variance 1 and puts the prior's own in its place.
        squares = max(posterior.noise**2 * (seen.n + 1) - 1, 0.0)
        squares += self._strength * self._prior_reward**2
        noise = math.sqrt(squares / (seen.n + self._strength))
        self._solved = replace(posterior, noise=noise)
        self._variances = feature_variances(seen)

    def _read(self, row: NDArray[np.int64] | None, at_ms: int) -> LinearStatistics:
        d = self._n_features
        if row is None:
            return LinearStatistics(0.0, 0.0, np.zeros(d), np.zeros((d, d)))
        width = statistics_width(d) * (CELLS_WIDTH if self._half_life_ms else 1)
        assert len(row) == width, f"{len(row)} statistics are learned, {width} are configured"
        if not self._half_life_ms:
            return statistics(row, d)
        return fading_statistics(row, d, half_life_ms=self._half_life_ms, at_ms=at_ms)

    def _by_arm(self, x: Values, knowledge: Knowledge, shared: LinearPosterior) -> Belief:
        known, rows = knowledge.bandit.arms.statistics(knowledge.keys)
        means, widths = arm_beliefs(
            x,
            known,
            rows,
            prior_mean=shared.mean,
            prior_precisions=self._strength * self._variances,
            half_life_ms=self._half_life_ms,
            at_ms=knowledge.bandit.watermark_ms,
        )
        return IndependentBelief(means, widths, shared.noise)


class OutcomeCounts:
    """Times shown and rewards of each candidate, and of all items; faded by
    ``bandit.half_life_s``, which must be one of ``popularity.half_lives_s`` then. Faded outcomes
    are known as positive or not: a positive one is worth 1.

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
        self.strength = config.bandit.prior_strength
        self.share = config.bandit.prior_reward

    def of(self, knowledge: Knowledge, column: int) -> tuple[Floats, Floats, float, float]:
        """``(n,)`` times shown, ``(n,)`` positive outcomes or rewards (``column``), and both of
        all items, these with the prior's: one outcome worth 1 in ``1 / prior_reward`` shown."""
        arms, i = knowledge.bandit.arms, self._half_life
        if i is None:
            each, total = arms.outcomes(knowledge.keys), arms.totals[:FADED]
            shown, worth = each[:, SHOWN], each[:, column]
            all_shown, all_worth = float(total[SHOWN]), float(total[column])
        else:
            shown, worth = (v[:, i] for v in arms.faded(knowledge.keys, knowledge.at_ms))
            all_shown, all_worth = (float(v[i]) for v in arms.faded_totals(knowledge.at_ms))
        return shown, worth, all_shown + 1 / self.share, all_worth + 1


class BetaBeliefs(OutcomeCounts):
    """Beta posteriors of the share of positive outcomes. The prior of an item is the share over
    all items, worth ``prior_strength`` times shown."""

    def __call__(self, x: Values, knowledge: Knowledge) -> Belief:
        shown, positive, all_shown, all_positive = self.of(knowledge, POSITIVE)
        share = min(max(all_positive / all_shown, 1e-6), 1 - 1e-6)
        return BetaBelief(
            np.maximum(positive, 0.0) + self.strength * share,
            np.maximum(shown - positive, 0.0) + self.strength * (1 - share),
        )


_MADE_UP: Final = 1.0


class UpperBounds(OutcomeCounts):
    """``√(2 ln N / n)`` around the mean reward (UCB1: Auer, Cesa-Bianchi & Fischer 2002), each
    item with one made-up outcome worth the mean of all, so that no bound is infinite."""

    def __call__(self, x: Values, knowledge: Knowledge) -> Belief:
        shown, rewards, all_shown, all_rewards = self.of(knowledge, REWARD)
        n = np.maximum(shown, 0.0) + _MADE_UP
        means = (rewards + _MADE_UP * all_rewards / all_shown) / n
        widths = np.sqrt(2 * math.log(max(all_shown, 2.0)) / n)
        return IndependentBelief(means, widths, 1.0)
