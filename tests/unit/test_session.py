"""Session factors learn what follows what, and score as they learn."""

from __future__ import annotations

import numpy as np

from streamer.testing.streams import LARGE, new_state
from streamer_models.counters.history import UserHistory
from streamer_models.factorization.session import SessionFactors
from streamer_models.factorization.session_step import recency_weights, session_scores
from streamer_models.state.fixed_point import as_floats
from streamer_models.state.ingest import Feedback, learn_feedback
from streamer_models.state.model import Model
from streamer_models.state.partition import PartitionState

N_GROUPS, N_ITEMS = 4, 40


def _learned(n: int, reward: float = 1.0) -> tuple[SessionFactors, PartitionState]:
    """Users whose items are all of one group, that of their own number."""
    rng = np.random.default_rng(0)
    users = rng.integers(0, 200, n)
    items = rng.integers(0, N_ITEMS // N_GROUPS, n) * N_GROUPS + users % N_GROUPS
    model = SessionFactors(n_factors=8, length=5, n_negatives=10)
    models: list[Model] = [UserHistory(length=8), model]
    state = new_state(models, bounds=LARGE)
    feedback = Feedback(
        offsets=np.arange(n),
        ts_ms=np.arange(n) * 1_000,
        user_ids=[f"u{user}" for user in users.tolist()],
        item_ids=[f"i{item}" for item in items.tolist()],
        rewards=np.full(n, reward, dtype=np.float32),
        values=np.full(n, np.nan),
    )
    for _ in learn_feedback(feedback, state, models, from_offset=0, to_offset=n):
        state.collect()
    return model, state


def _scores(state: PartitionState, recent: list[int], user: int | None) -> list[float]:
    items = state.shared.tables["session_items"].values
    rows = [int(state.item_rows[state.items.find(f"i{item}")]) for item in range(N_ITEMS)]
    row = np.zeros(9, dtype=np.float32)
    if user is not None:
        row = state.own["session_users"].values[state.users.find(f"u{user}")]
    last = items[[rows[item] for item in recent]]
    found: list[float] = session_scores(
        row, as_floats(last), recency_weights(len(recent)), as_floats(items[rows])
    ).tolist()
    return found


def test_a_new_user_is_scored_by_the_last_items() -> None:
    _, state = _learned(6_000)
    scores = np.array(_scores(state, [1, 5, 9], None))
    best = set(np.argsort(-scores)[: N_ITEMS // N_GROUPS].tolist())
    assert len(best & set(range(1, N_ITEMS, N_GROUPS))) >= 8


def test_a_user_without_recent_items_is_scored_by_the_own_vector() -> None:
    _, state = _learned(6_000)
    scores = np.array(_scores(state, [], 2))
    own = scores[2::N_GROUPS].mean()
    assert own > np.delete(scores.reshape(-1, N_GROUPS), 2, axis=1).mean() + 0.3


def test_disliked_items_are_pushed_away() -> None:
    disliked, ignored = (_scores(_learned(500, reward)[1], [1], None) for reward in (-1.0, 0.0))
    assert np.mean(disliked) < np.mean(ignored) - 0.05
