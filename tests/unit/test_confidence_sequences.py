"""Confidence sequences: no more false alarms than stated however often one looks, and power."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer_models.evaluation.confidence_sequences import (
    GROUP_MIN,
    DifferenceSequence,
    difference_sequence,
    split_p_value,
)

N_SEEDS = 200
N_USERS = 5_000
ALPHA = 0.05
KINDS = ("conversion", "reward", "watch time")


def outcomes(rng: np.random.Generator, kind: str, n: int) -> np.ndarray:
    """Of users who are alike: a share of positives, counts with many zeros, a long tail."""
    if kind == "conversion":
        return (rng.random(n) < 0.1).astype(np.float64)
    if kind == "reward":
        return rng.poisson(rng.gamma(0.5, 2.0, n)).astype(np.float64)
    return np.where(rng.random(n) < 0.5, 0.0, rng.lognormal(0.0, 1.0, n))


def run(seed: int, kind: str, *, effect: float = 0.0, share: float = 0.5) -> DifferenceSequence:
    rng = np.random.default_rng(seed)
    treated = rng.random(N_USERS) < share
    values = outcomes(rng, kind, N_USERS)
    return difference_sequence(
        values + effect * treated, treated, share, alpha=ALPHA, n_planned=2_000
    )


def _excludes(difference: float, found: DifferenceSequence) -> NDArray[np.bool_]:
    outside: NDArray[np.bool_] = np.abs(found.estimates - difference) > found.radii
    return outside


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_users_served_alike_raise_at_most_the_stated_share_of_alarms(
    kind: str, share: float
) -> None:
    # Looked at after each user, from the first interval on.
    alarms = [_excludes(0.0, run(seed, kind, share=share)).any() for seed in range(N_SEEDS)]
    assert sum(alarms) <= ALPHA * N_SEEDS


def test_a_test_for_one_look_would_not_do() -> None:
    """The usual interval, looked at after each user: what a confidence sequence is for."""
    n_alarms = 0
    for seed in range(N_SEEDS):
        rng = np.random.default_rng(seed)
        treated, values = rng.random(N_USERS) < 0.5, outcomes(rng, "conversion", N_USERS)
        signed = np.where(treated, 2, -2) * (values - 0.1)
        t = np.arange(1, N_USERS + 1)
        z = np.cumsum(signed) / np.sqrt(np.cumsum(signed**2) + 1e-9)
        n_alarms += bool((np.abs(z[t > 2 * GROUP_MIN]) > 1.96).any())
    assert n_alarms > 3 * ALPHA * N_SEEDS


@pytest.mark.parametrize(("kind", "effect"), [("conversion", 0.1), ("reward", 0.5)])
@pytest.mark.parametrize("share", [0.5, 0.3])
def test_a_difference_is_found_and_held(kind: str, effect: float, share: float) -> None:
    found = [run(seed, kind, effect=effect, share=share) for seed in range(N_SEEDS)]
    assert sum(_excludes(0.0, each)[-1] for each in found) >= 0.95 * N_SEEDS
    missed = [_excludes(effect, each).any() for each in found]
    assert sum(missed) <= ALPHA * N_SEEDS
    assert np.mean([each.estimates[-1] for each in found]) == pytest.approx(effect, rel=0.05)


def test_no_interval_is_given_for_a_few() -> None:
    rng = np.random.default_rng(0)
    treated = np.arange(1_000) % 10 == 0
    found = difference_sequence(rng.random(1_000), treated, 0.1)
    n_treated = np.cumsum(treated)
    assert np.isinf(found.radii[n_treated < GROUP_MIN]).all()
    assert np.isfinite(found.radii[n_treated >= GROUP_MIN]).all()


def test_an_empty_experiment_has_no_interval_and_a_share_must_be_one() -> None:
    empty = difference_sequence(np.zeros(0), np.zeros(0, dtype=bool), 0.5)
    assert not len(empty.radii)
    with pytest.raises(ValueError, match="share=1 must be above 0 and below 1"):
        difference_sequence(np.zeros(1), np.ones(1, dtype=bool), 1)


def test_a_right_split_is_alarmed_about_as_rarely_as_stated() -> None:
    shares = (0.2, 0.3, 0.5)
    n_alarms = 0
    for seed in range(N_SEEDS):
        rng = np.random.default_rng(seed)
        counts = np.cumsum(rng.multinomial(20, shares, size=100), axis=0)  # a look every 20 users
        n_alarms += any(split_p_value(each, shares) < ALPHA for each in counts.tolist())
    assert n_alarms <= ALPHA * N_SEEDS


def test_a_wrong_split_is_found() -> None:
    for seed in range(20):
        counts = np.random.default_rng(seed).multinomial(20_000, (0.53, 0.47)).tolist()
        assert split_p_value(counts, (0.5, 0.5)) < 0.001
    assert split_p_value([100, 1], [1.0, 0.0]) == 0.0
