"""Differences between groups of users, and checks of a split, that hold at all times at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GROUP_MIN: Final = 200
"""Outcomes of each group before an interval is given: it is valid asymptotically. With 50, 8 % of
experiments without a difference had an alarm at alpha = 5 % (1 : 9, lognormal); with 200, 3 %."""
SPLIT_STRENGTH: Final = 100.0
"""Outcomes that the alternative of the check of a split is worth."""


@dataclass(frozen=True, slots=True)
class DifferenceSequence:
    """Estimates and intervals of a difference of means after each outcome.

    Attributes
    ----------
    estimates
        ``(n,)`` difference of the means, of the treated less the others.
    radii
        ``(n,)`` half widths of the intervals; infinite until both groups have ``GROUP_MIN``
        outcomes.
    """

    estimates: Floats
    radii: Floats


def difference_sequence(
    outcomes: Floats,
    treated: NDArray[np.bool_],
    share: float,
    *,
    alpha: float = 0.05,
    n_planned: int = 10_000,
) -> DifferenceSequence:
    """Return a confidence sequence for the difference of two groups' mean outcomes.

    With probability ``1 - alpha`` (asymptotically) all intervals hold the difference, however often
    they are looked at: an experiment may be stopped by them at any time. The outcome of user i
    becomes an unbiased estimate of the difference, augmented by the means before it,

        f_i = (m1 - m0) + A_i / p * (Y_i - m1) - (1 - A_i) / (1 - p) * (Y_i - m0),

    and the interval after t users is

        mean(f) ± sd(f) * sqrt(2 * (t ρ² + 1) / (t² ρ²) * ln(sqrt(t ρ² + 1) / alpha)),

    narrowest around ``n_planned`` users where ``ρ² = (-2 ln alpha + ln(1 - 2 ln alpha)) /
    n_planned``.

    Parameters
    ----------
    outcomes
        ``(n,)`` of independent users, in the order in which they are known: one outcome each.
    treated
        ``(n,)`` which of them are in the first group.
    share
        Probability of the first group, in (0, 1), as users were split.

    References
    ----------
    Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas: Time-uniform central limit theory and asymptotic
    confidence sequences, Annals of Statistics 52(6), 2024 (arXiv:2103.06476, 2021), Theorem 2.2,
    appendix B.2 for ρ, and section 3 for augmented differences in randomized experiments. The
    boundary is that of Robbins' normal mixture (Howard, Ramdas, McAuliffe, Sekhon: Time-uniform,
    nonparametric, nonasymptotic confidence sequences, Annals of Statistics 49(2), 2021, eq. 14).
    """
    if not 0 < share < 1:
        raise ValueError(f"share={share!r} must be above 0 and below 1")
    n = len(outcomes)
    t = np.arange(1, n + 1, dtype=np.float64)
    first, second = treated.astype(np.float64), (~treated).astype(np.float64)
    mean_first, mean_second = (_means_before(outcomes, each) for each in (first, second))
    estimates = (
        (mean_first - mean_second)
        + first / share * (outcomes - mean_first)
        - second / (1 - share) * (outcomes - mean_second)
    )
    means = np.cumsum(estimates) / t
    # Around the first estimate: sums of squares of numbers far from 0 would lose their difference.
    shifted = estimates - (estimates[0] if n else 0.0)
    variances = np.maximum(np.cumsum(shifted**2) / t - (np.cumsum(shifted) / t) ** 2, 0.0)
    rho2 = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / n_planned
    width = 2 * (t * rho2 + 1) / (t**2 * rho2) * np.log(np.sqrt(t * rho2 + 1) / alpha)
    radii = np.sqrt(variances * width)
    smaller = np.minimum(np.cumsum(first), np.cumsum(second))
    return DifferenceSequence(means, np.where(smaller < GROUP_MIN, np.inf, radii))


def _means_before(outcomes: Floats, chosen: Floats) -> Floats:
    """``(n,)`` mean of the chosen outcomes before each; 0 where there are none."""
    sums = np.cumsum(outcomes * chosen) - outcomes * chosen
    counts = np.cumsum(chosen) - chosen
    means: Floats = np.divide(sums, counts, out=np.zeros(len(sums)), where=counts > 0)
    return means


def split_p_value(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Return a p-value of users having been split by the given shares, valid at any time.

    It is the inverse of the Bayes factor of a Dirichlet-multinomial alternative around the shares,

        BF = Γ(K) / Γ(K + n) * Π Γ(K θ_j + n_j) / Γ(K θ_j) / Π θ_j^n_j,

    a martingale of mean 1 while the split is right, so the chance that it ever falls below
    ``alpha`` is at most ``alpha`` (Ville). Groups of share 0 must be empty.

    Parameters
    ----------
    counts, shares
        Of each group; the shares add up to 1.

    References
    ----------
    Lindon, Malek: Anytime-valid inference for multinomial count data, NeurIPS 2022
    (arXiv:2011.03567, 2020), section 3.

    Examples
    --------
    >>> round(split_p_value([5_000, 5_050], [0.5, 0.5]), 3)
    1.0
    >>> split_p_value([5_000, 5_500], [0.5, 0.5]) < 0.001
    True
    """
    if any(count for count, share in zip(counts, shares, strict=True) if share <= 0):
        return 0.0
    groups = [(n, share) for n, share in zip(counts, shares, strict=True) if share > 0]
    strength, n = SPLIT_STRENGTH, sum(counts)
    log_factor = math.lgamma(strength) - math.lgamma(strength + n)
    for count, share in groups:
        prior = strength * share
        log_factor += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return math.exp(min(0.0, -log_factor))
