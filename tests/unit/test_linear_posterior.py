"""The posterior of a linear model against textbook ridge regression."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer_models.bandits.linear_posterior import NOISE_MIN, LinearPosterior
from streamer_models.bandits.linear_statistics import LinearStatistics
from streamer_models.bandits.protocols import Contexts

D = 6
SLOPES = np.arange(D, dtype=np.float64)


def _sums(x: NDArray[np.float64], r: NDArray[np.float64]) -> LinearStatistics:
    return LinearStatistics(float(len(r)), float(r @ r), x.T @ r, x.T @ x)


def _examples(n: int, *, noise: float = 0.5) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, D)) * [1, 3, 0.2, 1, 1, 2] + [0, 2, 0, -1, 0, 0]
    x[:, 0] = 1.0
    return x, x @ SLOPES + noise * rng.normal(size=n)


def _posterior(n: int = 400, *, standardize: bool = False) -> LinearPosterior:
    return LinearPosterior.of(
        _sums(*_examples(n)),
        prior_mean=np.full(D, 0.5),
        prior_strength=2.0,
        standardize=standardize,
    )


def test_it_is_ridge_regression_towards_the_prior_mean() -> None:
    x, r = _examples(400)
    posterior = _posterior()
    a = x.T @ x + 2.0 * np.eye(D)
    np.testing.assert_allclose(a @ posterior.mean, x.T @ r + 2.0 * 0.5, rtol=1e-9)
    np.testing.assert_allclose(a @ posterior.factor @ posterior.factor.T, np.eye(D), atol=1e-9)
    np.testing.assert_array_equal(posterior.factor, np.tril(posterior.factor))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 64, 130])
def test_expectations_and_deviations_are_those_of_each_row(n: int, dtype: type) -> None:
    posterior = _posterior()
    rows = np.random.default_rng(3).normal(size=(n, D)).astype(np.float32).astype(np.float64)
    x: Contexts = rows.astype(dtype)
    covariance = posterior.factor @ posterior.factor.T
    np.testing.assert_allclose(posterior.expected(x), rows @ posterior.mean)
    squares = np.einsum("ni,ij,nj->n", rows, covariance, rows)
    np.testing.assert_allclose(posterior.deviations(x), np.sqrt(squares))


def test_the_standardised_prior_is_ridge_on_standardised_features() -> None:
    # Enough examples that the pseudo-observation of each variance does not show.
    x, r = _examples(20_000)
    deviations = x.std(axis=0)
    deviations[0] = 1.0
    posterior = LinearPosterior.of(
        _sums(x, r), prior_mean=np.zeros(D), prior_strength=500.0, standardize=True
    )
    z = x / deviations
    standardised = np.linalg.solve(z.T @ z + 500.0 * np.eye(D), z.T @ r)
    np.testing.assert_allclose(posterior.mean, standardised / deviations, rtol=2e-3)
    plain = LinearPosterior.of(_sums(x, r), prior_mean=np.zeros(D), prior_strength=500.0)
    assert np.abs(plain.mean[2] - posterior.mean[2]) > 0.2


def test_before_any_example_the_standardised_prior_is_the_plain_one() -> None:
    nothing = LinearStatistics(0.0, 0.0, np.zeros(D), np.zeros((D, D)))
    for standardize in (False, True):
        posterior = LinearPosterior.of(
            nothing,
            prior_mean=SLOPES,
            prior_strength=4.0,
            standardize=standardize,
        )
        np.testing.assert_array_equal(posterior.mean, SLOPES)
        np.testing.assert_array_equal(posterior.factor, 0.5 * np.eye(D))
        assert posterior.noise == 1.0


def test_a_constant_or_empty_feature_leaves_the_posterior_finite() -> None:
    x = np.ones((100_000, 3))
    x[:, 2] = 0.0
    posterior = LinearPosterior.of(
        _sums(x, x[:, 0]), prior_mean=np.zeros(3), prior_strength=1.0, standardize=True
    )
    assert posterior.expected(x[:1])[0] == pytest.approx(1.0, abs=1e-4)
    assert np.isfinite(posterior.factor).all()
    assert posterior.deviations(x[:1])[0] == pytest.approx(100_000**-0.5, rel=1e-3)


def test_noise_is_the_deviation_of_rewards_around_the_model() -> None:
    assert _posterior(20_000).noise == pytest.approx(0.5, rel=0.02)
    x, r = _examples(10**6, noise=0.0)
    exact = LinearPosterior.of(_sums(x, r), prior_mean=SLOPES, prior_strength=1.0)
    assert NOISE_MIN <= exact.noise < 2 * NOISE_MIN


def test_draws_have_the_posterior_s_mean_and_covariance() -> None:
    posterior = _posterior(40)
    n_draws = 40_000
    draws = posterior.sample(np.eye(D), n_draws, scale=3.0, rng=np.random.default_rng(4))
    assert draws.shape == (n_draws, D)
    covariance = (3.0 * posterior.noise) ** 2 * posterior.factor @ posterior.factor.T
    deviations = np.sqrt(np.diag(covariance))
    # Means within 4 standard errors, covariances within 4 % of the deviations' product.
    assert (np.abs(draws.mean(axis=0) - posterior.mean) < 4 * deviations / n_draws**0.5).all()
    scaled = (np.cov(draws.T) - covariance) / np.outer(deviations, deviations)
    assert np.abs(scaled).max() < 0.04


def test_one_draw_of_the_parameters_serves_all_rows() -> None:
    posterior = _posterior(40)
    x = np.random.default_rng(5).normal(size=(3, D))
    rows = np.vstack([x, x.sum(axis=0)])
    draws = posterior.sample(rows, 100, scale=1.0, rng=np.random.default_rng(6))
    np.testing.assert_allclose(draws[:, 3], draws[:, :3].sum(axis=1))


def test_a_packed_posterior_draws_the_same_bits() -> None:
    posterior = _posterior()
    packed = posterior.packed()
    assert len(packed) == 8 * (D + D * (D + 1) // 2 + 1)
    again = LinearPosterior.unpacked(packed, D)
    x = np.random.default_rng(7).normal(size=(50, D)).astype(np.float32)
    x.flags.writeable = False
    for one, other in (
        (posterior.expected(x), again.expected(x)),
        (posterior.deviations(x), again.deviations(x)),
        (
            posterior.sample(x, 9, scale=0.3, rng=np.random.default_rng(8)),
            again.sample(x.copy(), 9, scale=0.3, rng=np.random.default_rng(8)),
        ),
    ):
        np.testing.assert_array_equal(one, other)
    assert again.packed() == packed


def test_what_can_t_be_a_posterior_is_refused() -> None:
    with pytest.raises(ValueError, match="prior_strength=0"):
        LinearPosterior.of(_sums(*_examples(9)), prior_mean=np.zeros(D), prior_strength=0.0)
    with pytest.raises(ValueError, match="other features"):
        LinearPosterior.unpacked(_posterior().packed(), D + 1)
