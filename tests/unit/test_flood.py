"""At the bounds, a flood of new ids costs few commits, and work in proportion to the ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

import streamer.learner.step
import streamer_models.state.ids.id_table
from streamer.events import Event, encode
from streamer.learner.join.shown import Shown
from streamer.store.memory import MemoryStore
from streamer.verify.parameters import compare_contents
from streamer_models.state.ids.id_column import IdColumn
from streamer_models.state.ids.id_table import n_evicted_at
from streamer_models.state.inputs import ShownItems
from streamer_models.state.partition import Bounds
from streamer_models.state.table import Keys
from tests import decision_log
from tests.event_log import SETTINGS, START_MS, TOPIC, make_learner, messages, small_models, stored

BOUND, N_EVENTS = 2_000, 8_000
FLOODED = ("user", "item", "feature_user", "feature_item")
AT_BOUND = replace(
    SETTINGS, bounds=Bounds(users_max=BOUND, items_max=BOUND, feature_rows_max=BOUND)
)
FLOOD: list[bytes | None] = [
    encode(
        Event(
            event_id=f"e{i}",
            type="click",
            user_id=f"user-{i}",
            item_id=f"item-{i}",
            ts=START_MS + 500 * i,
        )
    )
    for i in range(N_EVENTS)
]


@pytest.mark.parametrize(
    ("rows_max", "n"),
    [(2, 1), (15, 1), (80, 10), (2_000, 250), (20_000, 1_000), (200_000, 3_125)],
)
def test_small_tables_drop_an_eighth_and_large_ones_a_64th(rows_max: int, n: int) -> None:
    assert n_evicted_at(rows_max) == n


def test_a_flood_costs_few_commits_and_each_id_is_looked_at_few_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n_hashed = 0

    def counted(ids: IdColumn) -> Keys:
        nonlocal n_hashed
        n_hashed += len(ids)
        return ids.keys()

    monkeypatch.setattr(streamer_models.state.ids.id_table, "keys_of", counted)
    models = small_models()
    at_once, in_parts = MemoryStore(), MemoryStore()
    learner = make_learner(at_once, models, AT_BOUND)
    learner.assign([0])
    learner.learn([messages(FLOOD, 0, 0, N_EVENTS)])
    n_evictions = -(-(N_EVENTS - BOUND) // n_evicted_at(BOUND))
    assert all(learner.counts.n_evicted[each] >= N_EVENTS - BOUND for each in FLOODED)
    assert learner.counts.n_commits == 1 + n_evictions
    assert n_hashed < 5 * len(FLOODED) * N_EVENTS
    learner = make_learner(in_parts, models, AT_BOUND)
    learner.assign([0])
    for start in range(0, N_EVENTS, 700):
        learner.learn([messages(FLOOD, 0, start, start + 700)])
    (whole,), (parts,) = (stored(each, models, AT_BOUND) for each in (at_once, in_parts))
    assert compare_contents(whole, parts) == []


def test_decisions_ahead_are_put_in_columns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a batch to see what has to go, and once a step to learn them."""
    n_columns = 0
    of_decisions = streamer.learner.step._items  # what it costs is what is asked here

    def counted(decisions: Sequence[Shown]) -> ShownItems:
        nonlocal n_columns
        n_columns += len(decisions)
        return of_decisions(decisions)

    monkeypatch.setattr(streamer.learner.step, "_items", counted)
    logs = [decision_log.make_topics(700, seed=5)]
    bounds = replace(decision_log.SETTINGS.bounds, arms_max=20)
    settings = replace(decision_log.SETTINGS, n_partitions=1, bounds=bounds)
    learner = make_learner(MemoryStore(), decision_log.models_with_bandit(), settings)
    at = learner.assign([0])
    for _ in range(3):
        decision_log.read_on(learner, logs, at, {TOPIC: 100_000, decision_log.DECISIONS: 100_000})
    counts = learner.counts
    assert counts.n_commits > 100
    n_taken = counts.join.n_decisions + counts.join.n_repeated
    assert n_taken <= n_columns <= 2 * n_taken
