"""Item neighbours and transitions against plain Python, and the scores read from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer_models.counters.consumptions import ItemConsumptions
from streamer_models.counters.history import UserHistory
from streamer_models.neighbors.item_neighbours import ItemNeighbours
from streamer_models.neighbors.item_transitions import ItemTransitions
from streamer_models.neighbors.scores import neighbour_scores
from streamer_models.state.ingest import Feedback, admit
from streamer_models.state.inputs import Inputs
from streamer_models.state.partition import PartitionState
from tests.learning import LARGE, learn, new_state, stream

HOUR_MS = 3_600_000
UNIT = 2.0**-24
WINDOW = 3

Lists = dict[str, dict[str, float]]
"""By item and neighbour: the weight."""


def feedback_of(events: Sequence[tuple[str, str, int]], *, reward: float = 1.0) -> Feedback:
    """Feedback of ``(user, item, hours)``."""
    n = len(events)
    return Feedback(
        offsets=np.arange(n, dtype=np.int64),
        ts_ms=np.array([hours * HOUR_MS for _, _, hours in events], dtype=np.int64),
        user_ids=[user for user, _, _ in events],
        item_ids=[item for _, item, _ in events],
        rewards=np.full(n, reward, dtype=np.float32),
        values=np.full(n, np.nan),
    )


def learned(feedback: Feedback) -> PartitionState:
    """All models of this file, after a stream."""
    models = [
        UserHistory(length=8),
        ItemConsumptions(),
        ItemNeighbours(window=WINDOW),
        ItemTransitions(window=WINDOW),
    ]
    state = new_state(models, bounds=LARGE)
    learn(feedback, state, models)
    return state


def lists_in(state: PartitionState, table: str) -> Lists:
    """The lists that a partition holds."""
    names = {int(state.items.keys[slot]): slot for slot in state.items.live_slots().tolist()}
    found: Lists = {}
    for slot in names.values():
        keys, weights = state.own[table].values[slot].reshape(2, -1)
        found[state.items.name(slot).decode()] = {
            state.items.name(names[key]).decode(): weight * UNIT
            for key, weight in zip(keys.tolist(), weights.tolist(), strict=True)
            if weight
        }
    return {item: of_item for item, of_item in found.items() if of_item}


def by_loops(feedback: Feedback) -> tuple[Lists, Lists]:
    """The formulas of the two models, without a bound."""
    together: Lists = defaultdict(lambda: defaultdict(float))
    after: Lists = defaultdict(lambda: defaultdict(float))
    met: dict[str, list[tuple[str, int]]] = defaultdict(list)
    columns = zip(feedback.user_ids, feedback.item_ids, feedback.ts_ms.tolist(), strict=True)
    for user, item, ts_ms in columns:
        for k, (other, other_ms) in enumerate(met[user][::-1][:WINDOW]):
            if other == item:
                continue
            n, age_h = len(met[user]), max(0, ts_ms - other_ms) / HOUR_MS
            together[other][item] += ((1 + n) * (1 + k)) ** -0.25
            together[item][other] += ((1 + n) * (1 + k)) ** -0.25
            x = (1 + n) ** -0.25 / ((1 + k) * (1 + age_h))
            after[other][item] += x
            after[item][other] += x / 2
        met[user].append((item, ts_ms))
    return together, after


def assert_close(found: Lists, expected: Lists) -> None:
    assert found.keys() == expected.keys()
    for item, of_item in expected.items():
        assert found[item] == pytest.approx(dict(of_item), abs=100 * UNIT), item


def test_lists_are_what_the_formulas_say() -> None:
    feedback = stream(600, seed=3, n_users=12, n_items=40)
    state = learned(feedback)
    together, after = by_loops(feedback)
    assert_close(lists_in(state, "item_neighbours"), together)
    assert_close(lists_in(state, "item_transitions"), after)


def test_two_items_an_hour_apart() -> None:
    state = learned(feedback_of([("ann", "a", 0), ("ann", "b", 1)]))
    x = 2**-0.25
    assert_close(lists_in(state, "item_neighbours"), {"a": {"b": x}, "b": {"a": x}})
    assert_close(lists_in(state, "item_transitions"), {"a": {"b": x / 2}, "b": {"a": x / 4}})


def test_a_repeated_item_makes_no_pair_with_itself_and_counts() -> None:
    state = learned(feedback_of([("ann", "a", 0), ("ann", "a", 1), ("bob", "b", 2)]))
    assert lists_in(state, "item_neighbours") == lists_in(state, "item_transitions") == {}
    rows = state.item_rows[state.items.slots_of(["a", "b"])]
    counts = state.shared.tables["item_consumptions"].values[rows, 0]
    assert counts.tolist() == [2, 1]


def test_rewards_are_not_looked_at() -> None:
    events = [("ann", "a", 0), ("bob", "b", 0), ("ann", "b", 3), ("bob", "a", 5)]
    liked, disliked = (learned(feedback_of(events, reward=reward)) for reward in (1.0, -1.0))
    for table in ("item_neighbours", "item_transitions"):
        assert lists_in(liked, table) == lists_in(disliked, table) != {}


def test_pieces_of_a_step_are_learned_as_they_are_run() -> None:
    """A reader in the middle of a step sees the lists and counts of the events before."""
    feedback = feedback_of([("ann", "a", 0), ("ann", "b", 0), ("ann", "c", 0)])
    model = ItemNeighbours()
    models = [UserHistory(length=8), ItemConsumptions(), model]
    state = new_state(models, bounds=LARGE)
    learn(feedback_of([("bob", item, 0) for item in "abc"]), state, models)
    before = lists_in(state, "item_neighbours")
    counts = state.shared.tables["item_consumptions"].values[:, 0]
    (segment,) = admit(
        replace(feedback, offsets=feedback.offsets + 3), state, from_offset=3, to_offset=6
    )
    batch = segment.batch
    inputs = Inputs(feedback=batch)
    prepared, counted = (each.prepare(inputs, state, state.shared) for each in (model, models[1]))
    assert lists_in(state, "item_neighbours") == before
    prepared.run(0, 2)
    counted.run(0, 2)
    half = lists_in(state, "item_neighbours")
    assert half["a"]["b"] > before["a"]["b"]
    assert half["c"] == before["c"]
    assert counts[batch.item_rows].tolist() == [2, 2, 1]
    prepared.run(2, 3)
    counted.run(2, 3)
    assert lists_in(state, "item_neighbours")["c"]["a"] > before["c"]["a"]
    assert counts[batch.item_rows].tolist() == [2, 2, 2]


@pytest.mark.parametrize("kind", [ItemNeighbours, ItemTransitions])
def test_settings_that_cannot_be_are_refused(
    kind: type[ItemNeighbours | ItemTransitions],
) -> None:
    for wrong in ({"list_length": 0}, {"window": 0}):
        with pytest.raises(ValueError, match="must be at least 1"):
            kind(**wrong)
    assert kind(list_length=7, window=2).settings() == {"list_length": 7, "window": 2}


# --- scores ---------------------------------------------------------------------------------------


@given(
    st.lists(  # partitions
        st.lists(  # ids
            st.dictionaries(st.integers(0, 40), st.integers(1, 2**40), max_size=4),
            min_size=3,
            max_size=3,
        ),
        max_size=3,
    ),
    st.lists(st.sampled_from([0.0, 0.5, -1.25, 3.0]), min_size=3, max_size=3),
)
def test_scores_are_weighed_sums_over_all_lists(
    partitions: list[list[dict[int, int]]], weights: list[float]
) -> None:
    lists = np.zeros((len(partitions), 3, 8), dtype=np.uint64)
    expected: dict[int, float] = {}
    for i, weight in enumerate(weights):
        for p, of_partition in enumerate(partitions):
            for j, (key, said) in enumerate(of_partition[i].items()):
                lists[p, i, [j, 4 + j]] = key, said
                if weight:
                    expected[key] = expected.get(key, 0.0) + weight * said * UNIT
    keys, [sums, twice, none] = neighbour_scores(lists, np.outer([1, 2, 0], weights))
    assert keys.tolist() == list(expected)
    assert twice.tolist() == (2 * sums).tolist()
    assert not none.any()
    np.testing.assert_allclose(sums, list(expected.values()), rtol=1e-12, atol=1e-9)


def test_partitions_without_lists_do_not_show() -> None:
    rng = np.random.default_rng(0)
    lists = np.zeros((1, 10, 200), dtype=np.uint64)
    lists[0, :, :100] = rng.integers(0, 500, (10, 100))
    lists[0, :, 100:] = rng.integers(1, 2**30, (10, 100))
    weights = rng.random((2, 10))
    among_others = np.concatenate([np.zeros_like(lists), lists, np.zeros_like(lists)])
    for alone, beside in zip(
        neighbour_scores(lists, weights), neighbour_scores(among_others, weights), strict=True
    ):
        assert alone.tobytes() == beside.tobytes()
