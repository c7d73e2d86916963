"""Thompson sampling of success rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.counting import MeanReward, generator
from streamer_models.bandits.policy import Contexts
from streamer_models.bandits.slates import Draw, draw_thompson
from streamer_models.state.key_map import KeyMap
from streamer_models.state.table import Keys


@dataclass(frozen=True, slots=True, eq=False)
class BetaPriors:
    """What was known of some arms beforehand: columns of length n_arms.

    Attributes
    ----------
    arms
        uint64 keys, each once.
    alpha, beta
        Successes and failures that the knowledge is worth, each above 0.
    """

    arms: Keys
    alpha: NDArray[np.float64]
    beta: NDArray[np.float64]

    def __post_init__(self) -> None:
        if not len(self.arms) == len(self.alpha) == len(self.beta):
            raise ValueError(
                f"{len(self.arms)} arms, {len(self.alpha)} alpha and {len(self.beta)} beta: a prior"
                " has one of each an arm"
            )
        if len(np.unique(self.arms)) < len(self.arms):
            raise ValueError("an arm has more than one prior: leave one")
        for name, values in (("alpha", self.alpha), ("beta", self.beta)):
            if not (np.isfinite(values) & (values > 0)).all():
                raise ValueError(f"a prior's {name} must be above 0 and finite, for every arm")


class BetaBernoulli(MeanReward):
    """Draw every arm's success rate from its Beta posterior and choose the best.

    ``rate ~ Beta(α + successes, β + n - successes)``, where a reward above 0 is a success
    (Thompson 1933; Chapelle & Li 2011, algorithm 2). Where evidence fades, successes and failures
    do and the prior stays (Raj & Kalyani 2017).

    Parameters
    ----------
    alpha, beta
        Prior of arms that ``priors`` does not name, each above 0.
    priors
        Of arms that something is known of.
    n_draws
        m, posterior draws that a slate's propensities are exact given; see
        :func:`streamer_models.bandits.slates.draw_thompson`.
    half_life_s, arms_max, sightings_min, uniform_share, explore_slots
        As of :class:`streamer_models.bandits.counting.MeanReward`.

    Raises
    ------
    ValueError
        Where a setting is out of its range.

    Examples
    --------
    >>> priors = BetaPriors(np.array([7], dtype=np.uint64), np.array([30.0]), np.array([70.0]))
    >>> policy = BetaBernoulli(alpha=1.0, beta=1.0, priors=priors)
    >>> policy.expected(np.zeros((2, 0)), np.array([7, 8], dtype=np.uint64)).tolist()
    [0.3, 0.5]
    """

    name = "beta-thompson"

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        beta: float = 1.0,
        priors: BetaPriors | None = None,
        n_draws: int = 64,
        half_life_s: float = 0.0,
        arms_max: int = 50_000,
        sightings_min: int = 1,
        uniform_share: float = 0.0,
        explore_slots: Sequence[int] = (),
    ) -> None:
        super().__init__(
            half_life_s=half_life_s,
            arms_max=arms_max,
            sightings_min=sightings_min,
            uniform_share=uniform_share,
            explore_slots=explore_slots,
        )
        if not (0 < alpha < np.inf and 0 < beta < np.inf and n_draws >= 1):
            raise ValueError(
                f"alpha={alpha} and beta={beta} must be above 0 and finite, n_draws={n_draws} at"
                " least 1"
            )
        self.n_draws = n_draws
        none = np.zeros(0)
        priors = priors or BetaPriors(np.zeros(0, dtype=np.uint64), none, none)
        self._prior_rows = KeyMap()
        self._prior_rows.insert(priors.arms, np.arange(len(priors.arms), dtype=np.int32))
        # The last row is that of arms without a prior of their own, which a row of -1 finds.
        self._alpha = np.append(priors.alpha, alpha)
        self._beta = np.append(priors.beta, beta)

    def expected(self, contexts: Contexts, arms: Keys) -> NDArray[np.float64]:
        """``(n_actions,)`` means of the success rates."""
        alpha, beta = self.posterior(arms)
        return alpha / (alpha + beta)

    def scores(
        self, contexts: Contexts, arms: Keys, *, n_draws: int, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """``(n_draws, n_actions)``: success rates drawn, independently for each arm."""
        alpha, beta = self.posterior(arms)
        return rng.beta(alpha, beta, size=(n_draws, len(arms)))

    def choose(self, contexts: Contexts, arms: Keys, k: int, seed: int) -> Draw:
        """Each slot takes the best remaining of one of ``n_draws`` draws."""
        samples = self.scores(contexts, arms, n_draws=self.n_draws, rng=generator(seed))
        return draw_thompson(
            samples,
            k,
            seed,
            scores=self.expected(contexts, arms),
            uniform_share=self.uniform_share,
            slots=self.explore_slots,
        )

    def posterior(self, arms: Keys) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``(n,)`` α and β of each arm, prior and outcomes together."""
        counts = self.outcomes.counts(arms)
        rows = self._prior_rows.find(arms)
        alpha = self._alpha[rows] + counts.n_positive
        return alpha, self._beta[rows] + (counts.n - counts.n_positive)
