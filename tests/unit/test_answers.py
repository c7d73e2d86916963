"""Choices among the items of slates: sums that can be taken back, and what is seen more often."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.testing.streams import LARGE, new_state
from streamer_models.ranking.answer_kernels import LOGGED_MAX, add_choices, sums_width
from streamer_models.ranking.answers import AnsweredSlates
from streamer_models.state.inputs import Choices, Inputs
from streamer_models.state.partition import PartitionState

Floats = NDArray[np.float64]
UNIT = 2.0**-20


def _answers(n_columns: int = 2, **settings: float) -> AnsweredSlates:
    columns = [f"column {n}" for n in range(n_columns)]
    return AnsweredSlates(columns=columns, prior=np.zeros(n_columns), **settings)


def _slate(columns: Floats, weights: Floats, logits: Floats | float = 0.0) -> NDArray[np.float32]:
    """Rows as they are logged: other logits, and what answers had taught by then."""
    correction = columns @ weights
    return np.column_stack([columns, logits + correction, correction]).astype(np.float32)


def _learned(
    model: AnsweredSlates,
    state: PartitionState,
    slate: NDArray[np.float32],
    before: Floats,
    after: Floats,
) -> None:
    choices = Choices(np.zeros(1, dtype=np.int64), [slate], [before], [after])
    model.learn(Inputs(choices=choices), state, state.shared)


def _sums(model: AnsweredSlates, state: PartitionState) -> NDArray[np.int64]:
    found: NDArray[np.int64] = state.contributions[model.statistics.spec.name].values[0]
    return found


def test_a_choice_adds_the_gradient_at_the_weights_that_were_logged() -> None:
    model, rng = _answers(3, rate=2.0), np.random.default_rng(0)
    columns, weights, logits = rng.normal(size=(4, 3)), rng.normal(size=3), rng.normal(size=4)
    outcomes = np.array([0.0, np.nan, 0.25, 0.0])
    state = new_state([model], bounds=LARGE)
    _learned(model, state, _slate(columns, weights, logits), np.full(4, np.nan), outcomes)
    among = [2, 0, 3]  # what was not seen could not be chosen
    z = (columns @ weights + logits)[among]
    shares = np.exp(z) / np.exp(z).sum()
    g = shares @ columns[among] - columns[2]
    a = 0.25 * np.outer(g, g)[np.triu_indices(3)]
    b = 0.25 * (g * (g @ weights) - 2.0 * g)
    np.testing.assert_allclose(_sums(model, state) * UNIT, [*a, *b, 0.25], atol=1e-5)
    expected = np.linalg.solve(30 * np.eye(3) + 0.25 * np.outer(g, g), b)
    np.testing.assert_allclose(model.weights(_sums(model, state)), expected, atol=1e-6)


def test_what_is_amended_is_as_if_it_had_always_been_so() -> None:
    model, rng = _answers(3), np.random.default_rng(1)
    once, amended = (new_state([model], bounds=LARGE) for _ in range(2))
    for _ in range(30):
        slate = _slate(rng.normal(size=(5, 3)), rng.normal(size=3))
        unknown, first, last = (
            rng.choice([0.0, 1.0, 0.3, np.nan], 5) if n else np.full(5, np.nan) for n in range(3)
        )
        _learned(model, once, slate, unknown, last)
        for before, after in ((unknown, first), (first, unknown), (unknown, last)):
            _learned(model, amended, slate, before, after)
    assert _sums(model, once).any()
    np.testing.assert_array_equal(_sums(model, amended), _sums(model, once))


def test_where_there_was_nothing_else_to_choose_nothing_is_learned() -> None:
    model = _answers()
    state = new_state([model], bounds=LARGE)
    slate = _slate(np.ones((3, 2)), np.ones(2))
    _learned(model, state, slate, np.full(3, np.nan), np.array([1.0, 1.0, np.nan]))
    assert not _sums(model, state).any()
    np.testing.assert_array_equal(model.weights(None), model.prior)


def test_the_greatest_that_may_be_logged_stays_far_within_the_integers() -> None:
    sums = np.zeros(sums_width(2), dtype=np.int64)
    slate = np.array([[-1, 1, 0, -1], [1, -1, 0, 1]], dtype=np.float32) * np.float32(LOGGED_MAX)
    add_choices(sums, slate, np.array([1.0, 0.0]), 1, 100.0)
    assert 0 < np.abs(sums).max() < 2**35


def _clicks(
    n: int, *, attention: float, with_position: bool
) -> tuple[AnsweredSlates, PartitionState]:
    """Slates in the order of a column that says nothing of what is liked, whose first places are
    looked at more often; whatever was looked at is clicked as likely."""
    model, rng = _answers(2), np.random.default_rng(5)
    state = new_state([model], bounds=LARGE)
    ln_position = np.log1p(np.arange(10))
    looked_at = np.exp(-attention * ln_position)
    for _ in range(n):
        ranked_by = -np.sort(-rng.normal(size=10))
        columns = np.column_stack([ranked_by, ln_position if with_position else np.zeros(10)])
        clicked = rng.random(10) < 0.2 * looked_at
        if clicked.any():
            sums = state.contributions[model.statistics.spec.name].values
            slate = _slate(columns, model.weights(sums[0] if len(sums) else None))
            _learned(model, state, slate, np.full(10, np.nan), clicked.astype(np.float64))
    return model, state


def test_what_stands_first_is_not_taken_for_liked_because_it_is_seen_more_often() -> None:
    model, state = _clicks(3_000, attention=1.0, with_position=True)
    liked, attention = model.weights(_sums(model, state))
    assert abs(liked) < 0.12
    assert -1.2 < attention < -0.8
    # Without a position the system's own order would confirm itself.
    model, state = _clicks(3_000, attention=1.0, with_position=False)
    assert model.weights(_sums(model, state))[0] > 0.5


@pytest.mark.parametrize("wrong", [{"rate": 0.0}, {"precision": 0.0}])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    (name, value), *_ = wrong.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        AnsweredSlates(columns=["a"], prior=np.zeros(1), **wrong)
    with pytest.raises(ValueError, match="prior"):
        AnsweredSlates(columns=["a"], prior=np.zeros(2))
