"""Values with intervals, from what each row adds to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from streamer_models.evaluation.ope.weighed_log import Floats, Terms

Method = Literal["normal", "t", "bootstrap"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)


@dataclass(frozen=True, slots=True)
class Interval:
    """How an interval is made.

    Attributes
    ----------
    method
        ``normal`` and ``t``: value ± quantile * standard error, linearised (the delta method) where
        the estimate is a ratio. ``bootstrap``: percentiles over resampled requests (Efron 1979);
        better where rewards are rare and weights skewed.
    level
        Share of such intervals that would contain the value, in (0, 1).
    n_resamples
        Of the bootstrap, at least 2.
    seed
        Of the bootstrap.

    Raises
    ------
    ValueError
        Where a value is out of its range.
    """

    method: Method = "normal"
    level: float = 0.95
    n_resamples: int = 1_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r} must be one of {', '.join(METHODS)}")
        if not 0 < self.level < 1:
            raise ValueError(f"level={self.level} must be in (0, 1), e.g. 0.95")
        if self.n_resamples < 2:
            raise ValueError(f"n_resamples={self.n_resamples} must be at least 2, better 1,000")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval; NaN where the rows can't tell.

    Attributes
    ----------
    value
        Expected reward a row.
    low, high
        Bounds of the interval; NaN with fewer than two requests.
    standard_error
        Linearised, whatever the interval's method.
    n
        Rows.
    n_requests
        Independent groups of rows.
    effective_sample_size, clipped_share
        As in :class:`streamer_models.evaluation.ope.weighed_log.Terms`.
    """

    value: float
    low: float
    high: float
    standard_error: float
    n: int
    n_requests: int
    effective_sample_size: float
    clipped_share: float


def estimate(
    terms: Sequence[Terms],
    requests: NDArray[np.int64] | None,
    interval: Interval,
    *,
    on_resample: Callable[[], None] | None = None,
) -> list[Estimate]:
    """An estimate for each of ``terms``, all over the same rows and the same resamples.

    Parameters
    ----------
    terms
        Of the same ``n`` rows.
    requests
        ``(n,)``, rows of one request are kept together; None: each row by itself.
    on_resample
        Called after each resample of the bootstrap.

    Notes
    -----
    With sums N_c and D_c over the rows of request c of C, ``V = Σ N_c / Σ D_c`` and its variance is
    ``C / (C - 1) Σ (N_c - V D_c)² / (Σ D_c)²``. The bootstrap takes O(resamples * C) time and O(C)
    memory.
    """
    groups = _groups(requests)
    numerators = np.array([_summed(each.numerators, groups) for each in terms])
    denominators = np.array([_summed(each.denominators, groups) for each in terms])
    values = _ratios(numerators.sum(axis=1), denominators.sum(axis=1))
    n_requests = numerators.shape[1]
    errors = _standard_errors(values, numerators, denominators)
    if n_requests < 2:
        low = high = np.full(len(terms), np.nan)
    elif interval.method == "bootstrap":
        low, high = _percentiles(numerators, denominators, interval, on_resample)
    else:
        tail = 0.5 + interval.level / 2
        z = NormalDist().inv_cdf(tail)
        reach = z if interval.method == "normal" else t_quantile(tail, n_requests - 1)
        low, high = values - reach * errors, values + reach * errors
    return [
        Estimate(
            value=float(values[i]),
            low=float(low[i]),
            high=float(high[i]),
            standard_error=float(errors[i]),
            n=len(each.numerators),
            n_requests=n_requests,
            effective_sample_size=each.effective_sample_size,
            clipped_share=each.clipped_share,
        )
        for i, each in enumerate(terms)
    ]


def paired_difference(
    first: Terms, second: Terms, groups: NDArray[np.int64], *, level: float
) -> tuple[float, float, float]:
    """Return the difference of two estimates over the same rows, and its normal interval.

    Where both move together, as those of two policies that are much alike do, it is far narrower
    than the intervals of the two.

    Parameters
    ----------
    groups
        ``(n,)``, rows of one group are kept together.
    level
        In (0, 1).

    Returns
    -------
    Value, low and high; NaN where the rows can't tell.

    Notes
    -----
    In the notation of :func:`estimate`, ``V - V'`` has by the delta method the variance
    ``C / (C - 1) Σ ((N_c - V D_c) / Σ D_c - (N'_c - V' D'_c) / Σ D'_c)²``.
    """
    places = _groups(groups)
    numerators = np.array([_summed(each.numerators, places) for each in (first, second)])
    denominators = np.array([_summed(each.denominators, places) for each in (first, second)])
    totals = denominators.sum(axis=1)
    values = _ratios(numerators.sum(axis=1), totals)
    value, n_groups = float(values[0] - values[1]), numerators.shape[1]
    if n_groups < 2 or not math.isfinite(value):
        return value, math.nan, math.nan
    moved = (numerators - values[:, None] * denominators) / totals[:, None]
    variance = float(((moved[0] - moved[1]) ** 2).sum()) * n_groups / (n_groups - 1)
    reach = NormalDist().inv_cdf(0.5 + level / 2) * math.sqrt(variance)
    return value, value - reach, value + reach


def t_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t: exact with 1 or 2 degrees of freedom, else the expansion in
    1/degrees of Abramowitz & Stegun 26.7.5 (off by at most 0.2 % for tails from 0.5 %).

    >>> [round(t_quantile(0.975, degrees), 3) for degrees in (1, 2, 5, 100)]
    [12.706, 4.303, 2.57, 1.984]
    """
    if degrees == 1:
        return math.tan(math.pi * (probability - 0.5))
    if degrees == 2:
        alpha = 4 * probability * (1 - probability)
        return 2 * (probability - 0.5) * math.sqrt(2 / alpha)
    z = NormalDist().inv_cdf(probability)
    series = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
    )
    return z + sum((term / degrees**power for power, term in enumerate(series, 1)), 0.0)


def _groups(requests: NDArray[np.int64] | None) -> NDArray[np.intp] | None:
    return None if requests is None else np.unique(requests, return_inverse=True)[1]


def _summed(column: Floats, groups: NDArray[np.intp] | None) -> Floats:
    return column if groups is None else np.bincount(groups, weights=column).astype(np.float64)


def _ratios(numerators: Floats, denominators: Floats) -> Floats:
    ratios = np.full(len(numerators), np.nan)
    np.divide(numerators, denominators, out=ratios, where=denominators != 0)
    return ratios


def _standard_errors(values: Floats, numerators: Floats, denominators: Floats) -> Floats:
    n_requests = numerators.shape[1]
    if n_requests < 2:
        return np.full(len(values), np.nan)
    residuals = numerators - values[:, None] * denominators
    spread = np.sqrt((residuals**2).sum(axis=1) * n_requests / (n_requests - 1))
    return _ratios(spread, np.abs(denominators.sum(axis=1)))


def _percentiles(
    numerators: Floats,
    denominators: Floats,
    interval: Interval,
    on_resample: Callable[[], None] | None,
) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(interval.seed)
    n_estimates, n_requests = numerators.shape
    columns = np.concatenate([numerators, denominators])
    values = np.empty((interval.n_resamples, n_estimates))
    for resample in range(interval.n_resamples):
        drawn = rng.integers(n_requests, size=n_requests)
        sums = columns @ np.bincount(drawn, minlength=n_requests).astype(np.float64)
        values[resample] = _ratios(sums[:n_estimates], sums[n_estimates:])
        if on_resample is not None:
            on_resample()
    tail = (1 - interval.level) / 2
    bounds = np.full((2, n_estimates), np.nan)
    for i in range(n_estimates):
        # A resample without a match has no value; the others do.
        defined = values[~np.isnan(values[:, i]), i]
        if len(defined):
            bounds[:, i] = np.quantile(defined, [tail, 1 - tail])
    return bounds[0], bounds[1]
