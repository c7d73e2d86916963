"""The listwise blend: an online Newton step in sums, and weights that follow from them alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.testing.streams import LARGE, new_state
from streamer_models.ranking.blend import ListwiseBlend
from streamer_models.ranking.blend_kernels import (
    N_CONTEXTS,
    NO_LIMIT,
    blend_columns,
    shares_of_choice,
    slope,
    user_context,
)
from streamer_models.state.partition import PartitionState
from streamer_models.state.shared import SharedState

Floats = NDArray[np.float64]
N_COLUMNS = 3


def _blend(window: int = 1) -> ListwiseBlend:
    prior = np.random.default_rng(0).normal(0, 0.1, (N_COLUMNS, N_CONTEXTS))
    return ListwiseBlend(columns=["a", "b", "c"], prior=prior, window=window)


def _choices(n: int, seed: int = 1) -> list[tuple[Floats, Floats, int]]:
    """Columns of candidates, contexts, and the candidate chosen: mostly that with the greatest
    first column."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        columns = rng.normal(0, 1, (20, N_COLUMNS))
        context = user_context(int(rng.integers(0, 40)), int(rng.integers(0, 10**9)))
        chosen = columns[:, 0].argmax() if rng.random() < 0.8 else rng.integers(0, 20)
        found.append((columns, context, int(chosen)))
    return found


def _learned(blend: ListwiseBlend, state: PartitionState, n: int, seed: int = 1) -> None:
    for columns, context, chosen in _choices(n, seed):
        blend.step(columns, context, chosen, state, state.shared)


def _sums(shared: SharedState, blend: ListwiseBlend) -> NDArray[np.int64]:
    row: NDArray[np.int64] = shared.tables[blend.statistics.spec.name].values[0]
    return row


def test_with_a_window_of_one_it_is_the_online_newton_step() -> None:
    blend = _blend()
    state = new_state([blend], bounds=LARGE)
    weights, a = blend.prior.reshape(-1).copy(), np.diag(blend.precisions.reshape(-1))
    for columns, raw_context, chosen in _choices(40):
        context = np.clip(raw_context, *blend.weights(state).limits)
        by_context = weights.reshape(blend.prior.shape) @ context
        z = columns @ by_context
        shares = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        g = np.outer(shares @ columns - columns[chosen], context).reshape(-1)
        a += np.outer(g, g)
        weights = weights - blend.rate * np.linalg.solve(a, g)
        blend.step(columns, raw_context, chosen, state, state.shared)
    np.testing.assert_allclose(blend.weights(state).weights.reshape(-1), weights, atol=2e-4)


def test_what_was_chosen_becomes_likelier() -> None:
    blend = _blend(window=8)
    state = new_state([blend], bounds=LARGE)
    _learned(blend, state, 400)
    hits = 0
    for columns, context, chosen in _choices(100, seed=9):
        hits += int(blend.weights(state).scores(columns, context).argmax() == chosen)
    assert hits > 70


def test_partitions_add_up_in_any_order_to_what_readers_see() -> None:
    blend, found = _blend(window=4), []
    for order in ((0, 1), (1, 0)):
        shared = SharedState([blend])
        for partition in order:
            state = new_state([blend], shared, bounds=LARGE, partition=partition)
            # One window: both begin with the weights of the prior, whoever is first.
            _learned(blend, state, 4, seed=partition)
            state.collect()
        found.append(_sums(shared, blend).copy())
    np.testing.assert_array_equal(found[0], found[1])


def test_weights_stay_the_same_within_a_window() -> None:
    blend = _blend(window=5)
    state = new_state([blend], bounds=LARGE)
    _learned(blend, state, 4)
    np.testing.assert_array_equal(blend.weights(state).weights, blend.prior)
    assert blend.n_steps(state) == 4
    _learned(blend, state, 1, seed=2)
    renewed, merged = blend.weights(state), blend.merged_weights(_sums(state.shared, blend))
    np.testing.assert_array_equal(renewed.weights, merged.weights)
    np.testing.assert_array_equal(renewed.limits, merged.limits)
    assert not np.array_equal(renewed.weights, blend.prior)


def test_columns_are_two_logarithms_of_each_share_and_raw_scores() -> None:
    shares, raw = np.array([[0.0, 3.0]]), np.array([[-1.0, 2.0]])
    expected = [[np.log(0.05), 0.0, -1.0], [np.log(3.05), np.log(4.0), 2.0]]
    np.testing.assert_allclose(blend_columns(shares, raw), expected)


def test_who_asks_is_told_by_how_much_was_met_and_how_long_ago() -> None:
    new, back = user_context(0, 0), user_context(3, 4 * 86_400_000)
    assert new.tolist() == [1.0, -1.2, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    expected = [1.0, np.log(4) / 2 - 1.2, 0.25, 1.0, np.log(345_601) / 5 - 1, 0.0, 0.0, 1.0]
    np.testing.assert_allclose(back, expected)
    assert user_context(3, -5)[5] == 1.0


def test_contexts_count_within_two_deviations_of_those_it_learned_with() -> None:
    blend = _blend(window=50)
    state = new_state([blend], bounds=LARGE)
    np.testing.assert_array_equal(np.abs(blend.weights(state).limits), NO_LIMIT)
    _learned(blend, state, 50)
    learned = blend.weights(state)
    contexts = np.array([context for _, context, _ in _choices(50)])
    for k in range(N_CONTEXTS):
        mean, reach = contexts[:, k].mean(), 2 * contexts[:, k].std()
        expected = (mean - reach, mean + reach) if k in (1, 4) else (-NO_LIMIT, NO_LIMIT)
        np.testing.assert_allclose(learned.limits[:, k], expected, atol=1e-4)
    columns = _choices(1)[0][0]
    long_ago = user_context(5, 10**9)
    at_limit, beyond = long_ago.copy(), long_ago.copy()
    at_limit[4], beyond[4] = learned.limits[1, 4], 9.0
    found = learned.scores(columns, beyond)
    np.testing.assert_array_equal(found, learned.scores(columns, at_limit))
    assert not np.array_equal(found, learned.scores(columns, user_context(5, 0)))


def test_a_slope_is_what_was_expected_less_what_was_chosen() -> None:
    columns = np.array([[1.0, 0.0], [0.0, 1.0]])
    shares = shares_of_choice(np.array([0.0, np.log(3.0)]))
    np.testing.assert_allclose(slope(columns, shares, 0), [0.25 - 1.0, 0.75])


@pytest.mark.parametrize("wrong", [{"rate": 0.0}, {"precision": 0.0}, {"window": 0}])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    (name, value), *_ = wrong.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        ListwiseBlend(columns=["a"], prior=np.zeros((1, N_CONTEXTS)), **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="prior"):
        ListwiseBlend(columns=["a"], prior=np.zeros((2, N_CONTEXTS)))
