"""The live bandit's sums: exact whatever is amended, whoever learned it, whichever arms come."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamer.testing.contents import shared_snapshot
from streamer_models.bandits.bandit import (
    ARM_STATISTICS,
    N_OUTCOMES,
    N_POSITIVE,
    OUTCOMES,
    RATES,
    REWARDS,
    STATISTICS,
    Bandit,
)
from streamer_models.bandits.linear_statistics import fading_statistics, statistics
from streamer_models.state.inputs import Examples, Inputs, ShownItems
from streamer_models.state.partition import Bounds, PartitionState
from streamer_models.state.shared import SharedState
from streamer_models.state.table import ARM, Change

START_MS = 1_700_000_000_000
BOUNDS = Bounds(users_max=10, items_max=10, arms_max=100)
N_FEATURES = 3


def examples(n: int, *, seed: int, n_arms: int = 20) -> Examples:
    """First outcomes."""
    rng = np.random.default_rng(seed)
    return Examples(
        offsets=np.arange(n, dtype=np.int64) + 1,
        ts_ms=START_MS + rng.integers(0, 3_600_000, n),
        arm_ids=[f"item-{arm}" for arm in rng.integers(0, n_arms, n)],
        features=rng.uniform(-3, 3, (n, N_FEATURES)).astype(np.float32),
        before=np.full(n, np.nan),
        after=rng.choice([0.0, 0.0, 1.0, 2.5, -1.0], n),
    )


def part(of: Examples, at: np.ndarray) -> Examples:
    return Examples(
        of.offsets[at],
        of.ts_ms[at],
        [of.arm_ids[i] for i in at],
        of.features[at],
        of.before[at],
        of.after[at],
    )


def bandit(half_life_s: float = 0.0) -> Bandit:
    return Bandit(
        n_features=N_FEATURES,
        half_lives_s=(600.0, 86_400.0),
        half_life_s=half_life_s,
        per_arm=True,
    )


def state_of(model: Bandit, partition: int = 0, bounds: Bounds = BOUNDS) -> PartitionState:
    return PartitionState(partition, [model], SharedState([model]), bounds=bounds)


def learn(model: Bandit, outcomes: Examples, state: PartitionState) -> Change:
    """Show the arms at once, then learn what became of them."""
    offsets = np.zeros(len(outcomes), np.int64)
    shown = ShownItems(offsets, outcomes.ts_ms, outcomes.arm_ids)
    model.learn(Inputs(shown=shown, examples=outcomes), state, state.shared)
    return state.collect()


@pytest.mark.parametrize("half_life_s", [0.0, 300.0])
def test_the_sums_are_those_of_the_outcomes(half_life_s: float) -> None:
    model, outcomes = bandit(half_life_s), examples(400, seed=1)
    state = state_of(model)
    learn(model, outcomes, state)
    row = state.shared.tables[STATISTICS].values[0]
    x, r = outcomes.features.astype(np.float64), outcomes.after
    at_ms = int(outcomes.ts_ms.max())
    if half_life_s:
        found = fading_statistics(
            row, N_FEATURES, half_life_ms=int(1000 * half_life_s), at_ms=at_ms
        )
        weights = 2.0 ** ((outcomes.ts_ms - at_ms) / (1000 * half_life_s))
    else:
        found, weights = statistics(row, N_FEATURES), np.ones(len(r))
    np.testing.assert_allclose(found.a, (x * weights[:, None]).T @ x, atol=1e-3)
    np.testing.assert_allclose(found.b, (weights * r) @ x, atol=1e-3)
    np.testing.assert_allclose(found.n, weights.sum(), rtol=1e-6)


def test_outcomes_are_counted_by_arm() -> None:
    model, outcomes = bandit(), examples(400, seed=2)
    state = state_of(model)
    learn(model, outcomes, state)
    slot = state.ids[ARM].find("item-7")
    theirs = outcomes.after[[arm == "item-7" for arm in outcomes.arm_ids]]
    row = state.contributions[OUTCOMES].values[slot]
    assert row[N_OUTCOMES] == len(theirs)
    assert row[N_POSITIVE] == (theirs > 0).sum()
    assert row[REWARDS] * 2.0**-24 == theirs.sum()


@pytest.mark.parametrize("half_life_s", [0.0, 300.0])
def test_what_is_amended_or_taken_back_leaves_no_trace(half_life_s: float) -> None:
    model, outcomes = bandit(half_life_s), examples(200, seed=3)
    wrong = replace(outcomes, after=outcomes.after[::-1].copy())
    straight, crooked = state_of(model), state_of(model)
    learn(model, outcomes, straight)
    learn(model, wrong, crooked)
    learn(model, replace(outcomes, before=wrong.after, after=np.full(200, np.nan)), crooked)
    for name in (STATISTICS, ARM_STATISTICS, OUTCOMES, RATES):
        values = crooked.shared.tables[name].values
        assert not (values[:, 1::2] if name == RATES or half_life_s else values)[:, :].any() or (
            name == OUTCOMES and not values.any()
        ), name
    learn(model, outcomes, crooked)
    assert shared_snapshot(straight.shared) == shared_snapshot(crooked.shared)


@pytest.mark.parametrize("half_life_s", [0.0, 300.0])
def test_three_learners_know_together_what_one_would(half_life_s: float) -> None:
    model, outcomes = bandit(half_life_s), examples(900, seed=4)
    alone = state_of(model)
    learn(model, outcomes, alone)
    owners = np.random.default_rng(5).integers(0, 3, 900)
    states = [state_of(model, p) for p in range(3)]
    for start in range(0, 900, 90):
        for p, state in enumerate(states):
            mine = start + np.flatnonzero(owners[start : start + 90] == p)
            change = learn(model, part(outcomes, mine), state)
            for other in states:
                if other is not state:
                    other.shared.apply(p, change)
    for state in states:
        assert shared_snapshot(state.shared) == shared_snapshot(alone.shared)


def test_at_the_bound_the_arm_shown_longest_ago_goes_and_takes_its_outcomes_along() -> None:
    model = bandit()
    state = state_of(model, bounds=replace(BOUNDS, arms_max=4))
    follower = SharedState([model])
    for offset in range(10):
        n = 2
        names = [f"item-{offset}", f"item-{(offset + 1) % 3}"]
        outcomes = Examples(
            offsets=np.full(n, offset, dtype=np.int64),
            ts_ms=np.full(n, START_MS + offset, dtype=np.int64),
            arm_ids=names,
            features=np.ones((n, N_FEATURES), dtype=np.float32),
            before=np.full(n, np.nan),
            after=np.ones(n),
        )
        shown = ShownItems(outcomes.offsets, outcomes.ts_ms, names)
        assert model.make_room(Inputs(shown=shown), state) is None
        model.learn(Inputs(shown=shown, examples=outcomes), state, state.shared)
        assert state.ids[ARM].n_refused == 0
        follower.apply(state.partition, state.collect())
    assert len(state.ids[ARM]) <= 4
    kept = state.contributions[OUTCOMES].values[state.ids[ARM].live_slots(), N_OUTCOMES].sum()
    assert shared_snapshot(follower) == shared_snapshot(state.shared)
    assert state.shared.tables[STATISTICS].values[0, 0] * 2.0**-24 == 20, "the shared model keeps"
    assert kept < 20


def test_an_outcome_from_before_its_arm_came_back_changes_the_shared_model_alone() -> None:
    model = bandit()
    state = state_of(model)
    old = replace(examples(1, seed=6), offsets=np.array([5], dtype=np.int64))
    shown = ShownItems(np.array([9], dtype=np.int64), old.ts_ms, old.arm_ids)  # again, later
    amended = replace(old, before=np.zeros(1), after=np.ones(1))
    model.learn(Inputs(shown=shown, examples=amended), state, state.shared)
    state.collect()
    assert not state.shared.tables[OUTCOMES].values.any()
    assert state.shared.tables[STATISTICS].values.any()
