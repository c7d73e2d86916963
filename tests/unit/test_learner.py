"""One partition's result depends on its log alone; several are what their schedule says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from streamer.errors import Fenced, LogTrimmed, StoreError
from streamer.learner.learner import Learner
from streamer.learner.settings import LearnerSettings
from streamer.protocols import ParameterStore, PartitionImage
from streamer.store.memory import MemoryStore
from streamer.verify.execution import LearnedWith
from streamer.verify.parameters import Contents, compare_contents, verify_store
from streamer_models.state.ids.id_table import META_SLOT
from streamer_models.state.partition import Bounds
from streamer_models.state.table import Rows
from tests.event_log import (
    SETTINGS,
    TOPIC,
    Dead,
    LogStream,
    default_rewards,
    make_learner,
    make_log,
    messages,
    small_models,
    stored,
    with_settings,
)

MODELS = small_models()
LOG = make_log(2_200, seed=1)


def assert_same(left: Sequence[Contents], right: Sequence[Contents]) -> None:
    for p, (a, b) in enumerate(zip(left, right, strict=True)):
        assert compare_contents(a, b) == [], p


def learn_all(
    batch_sizes: Sequence[int],
    settings: LearnerSettings = SETTINGS,
    *,
    crash_every: int = 0,
    pipeline_depth: int = 0,
) -> ParameterStore:
    """Learn LOG in batches of these sizes, over and over; drop the learner every so often."""
    store = MemoryStore()
    learner = make_learner(store, MODELS, settings, pipeline_depth=pipeline_depth)
    at = learner.assign([0])[TOPIC, 0]
    n_batches = 0
    while learner.offsets[TOPIC, 0] < len(LOG):
        end = at + batch_sizes[n_batches % len(batch_sizes)]
        learner.learn([messages(LOG, 0, at, end)])
        at, n_batches = end, n_batches + 1
        if n_batches % 3 == 0:
            learner.checkpoint_all()
        if crash_every and n_batches % crash_every == 0:
            name = f"after-{n_batches}"
            learner = make_learner(
                store, MODELS, settings, owner=name, pipeline_depth=pipeline_depth
            )
            at = learner.assign([0])[TOPIC, 0]
    learner.flush()
    return store


@pytest.fixture(scope="module")
def undisturbed() -> list[Contents]:
    return stored(learn_all([len(LOG)]), MODELS, SETTINGS)


def test_something_was_learned_evicted_and_refused(undisturbed: list[Contents]) -> None:
    store, dead = MemoryStore(), Dead()
    learner = make_learner(store, MODELS, SETTINGS, dead=dead)
    learner.assign([0])
    learner.learn([messages(LOG, 0, 0, len(LOG))])
    counts = learner.counts
    assert counts.n_messages == len(LOG)
    assert counts.n_rejected == len(dead) > 20
    assert all("event_id" in reason or "JSON" in reason for _, reason in dead)
    assert counts.n_duplicates > 20
    assert counts.n_unrewarded > 400
    assert counts.n_unadmitted > 20
    assert counts.n_learned + counts.n_unadmitted + counts.n_unrewarded + counts.n_duplicates + (
        counts.n_rejected
    ) == len(LOG)
    assert counts.n_commits > 5, "evictions end entries"
    factors = undisturbed[0].tables["user_factors"][1]
    assert np.abs(factors).max() > 0.01


@pytest.mark.parametrize("sizes", [[1, 2, 3, 500], [97], [640, 13]])
def test_where_batches_end_does_not_matter(sizes: list[int], undisturbed: list[Contents]) -> None:
    assert_same(stored(learn_all(sizes), MODELS, SETTINGS), undisturbed)


@pytest.mark.parametrize("pipeline_depth", [0, 3])
@pytest.mark.parametrize("crash_every", [1, 2, 5])
def test_crashes_do_not_matter(
    crash_every: int, pipeline_depth: int, undisturbed: list[Contents]
) -> None:
    # Longer than the duplicate window, which is read again after each crash.
    # With commits under way at the crash, the former learner goes on as a zombie: it is fenced.
    store = learn_all([90, 170, 57], crash_every=crash_every, pipeline_depth=pipeline_depth)
    assert_same(stored(store, MODELS, SETTINGS), undisturbed)


def test_idle_expiry_does_not_depend_on_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamer_models.state.ingest.SWEEP_OFFSETS", 256)
    bounds = Bounds(users_max=1_000, items_max=1_000)
    settings = with_settings(idle_expiry_ms=60_000, bounds=bounds)
    once = stored(learn_all([len(LOG)], settings), MODELS, settings)
    often = stored(learn_all([150, 3, 206], settings, crash_every=4), MODELS, settings)
    assert_same(once, often)
    settings = with_settings(bounds=bounds)
    kept = stored(learn_all([len(LOG)], settings), MODELS, settings)
    assert len(once[0].names["user"]) < len(kept[0].names["user"])


def test_the_delta_log_is_bounded_in_bytes(undisturbed: list[Contents]) -> None:
    settings = with_settings(log_bytes_max=100_000)
    store = MemoryStore(log_entries_kept=1_000_000)
    learner = make_learner(store, MODELS, settings)
    learner.assign([0])
    sizes, first = [], 0
    for start in range(0, len(LOG), 50):
        learner.learn([messages(LOG, 0, start, start + 50)])
        kept = None
        while kept is None:
            try:
                kept = store.follow({0: first}, timeout_s=0)
            except LogTrimmed:
                first += 1
        sizes.append(sum(entry.change.n_bytes for entry in kept))
    assert learner.counts.n_checkpoints > 5
    assert 20_000 < max(sizes) < 130_000, "at most the bound, and the entry in hand"
    assert_same(stored(store, MODELS, settings), undisturbed)


def test_the_delta_log_is_bounded_however_short_learners_live() -> None:
    store = MemoryStore(log_entries_kept=1)
    settings = with_settings(log_bytes_max=100_000)
    log_bytes = []
    for start in range(0, len(LOG), 50):
        learner = make_learner(store, MODELS, settings, owner=f"from-{start}")
        at = learner.assign([0])[TOPIC, 0]
        learner.learn([messages(LOG, 0, at, start + 50)])
        log_bytes.append(sum(entry.change.n_bytes for entry in store.load(0).entries))
    assert 20_000 < max(log_bytes) < 80_000, "at most half the bound, and the entry in hand"


def test_a_fenced_learner_commits_nothing() -> None:
    store = MemoryStore()
    former = make_learner(store, MODELS, SETTINGS, owner="former")
    former.assign([0])
    former.learn([messages(LOG, 0, 0, 100)])
    make_learner(store, MODELS, SETTINGS, owner="latter").assign([0])
    before = stored(store, MODELS, SETTINGS)
    with pytest.raises(Fenced):
        former.learn([messages(LOG, 0, 100, 200)])
    assert_same(stored(store, MODELS, SETTINGS), before)


# --- four partitions ----------------------------------------------------------------------------

FOUR = with_settings(n_partitions=4)
LOGS = [make_log(800, seed=10 + p) for p in range(4)]


def starts(learner: Learner, partitions: Sequence[int]) -> dict[int, int]:
    return {p: at for (_, p), at in learner.assign(partitions).items()}


def learn_four(owners: Sequence[Sequence[int]], *, seed: int, crash_share: float) -> MemoryStore:
    """Learners step in random order; some crash, and their partitions move to another."""
    rng = np.random.default_rng(seed)
    store = MemoryStore(log_entries_kept=10_000)
    learners = {}
    for name, partitions in enumerate(owners):
        learner = make_learner(store, MODELS, FOUR, owner=f"{name}", pipeline_depth=2)
        learners[name] = (learner, starts(learner, partitions))
    n_crashes = 0
    while any(at < len(LOGS[p]) for _, ats in learners.values() for p, at in ats.items()):
        name = int(rng.integers(len(owners)))
        learner, ats = learners[name]
        batches = []
        for p in ats:
            end = ats[p] + int(rng.integers(1, 150))
            batches.append(messages(LOGS[p], p, ats[p], end))
            ats[p] = min(end, len(LOGS[p]))
        learner.learn(batches)
        if rng.random() < 0.2:
            learner.checkpoint_all()
        if rng.random() < crash_share:
            n_crashes += 1
            owner = f"{name}-{n_crashes}"
            learner = make_learner(store, MODELS, FOUR, owner=owner, pipeline_depth=2)
            learners[name] = (learner, starts(learner, list(ats)))
    for learner, _ in learners.values():
        learner.flush()
    return store


def verify(store: ParameterStore, settings: LearnerSettings = FOUR) -> list[str]:
    return verify_store(
        store,
        learned_with=[LearnedWith(MODELS, settings, default_rewards)],
        stream=lambda topic, p, at: LogStream(LOGS[p], p, at),
    ).problems


@pytest.mark.parametrize("owners", [[[0, 1, 2, 3]], [[0, 1], [2, 3]], [[0], [1], [2], [3]]])
def test_the_schedule_executed_again_gives_the_store(owners: list[list[int]]) -> None:
    assert verify(learn_four(owners, seed=len(owners), crash_share=0.15)) == []


def test_verification_notices_another_log() -> None:
    store = learn_four([[0, 1], [2, 3]], seed=5, crash_share=0.0)
    kept, LOGS[2][700] = LOGS[2][700], None
    try:
        problems = verify(store)
    finally:
        LOGS[2][700] = kept
    assert any(problem.startswith("partition 2") for problem in problems)


def test_learners_see_each_other() -> None:
    """With others' contributions left out, the same logs teach something else."""
    together = stored(learn_four([[0, 1, 2, 3]], seed=1, crash_share=0), MODELS, FOUR)
    for p in range(4):
        settings = with_settings()
        store = MemoryStore()
        learner = make_learner(store, MODELS, settings)
        learner.assign([0])
        learner.learn([messages(LOGS[p], 0, 0, len(LOGS[p]))])
        lonely = stored(store, MODELS, settings)[0]
        problems = compare_contents(lonely, together[p])
        assert any("item_factors" in problem for problem in problems)
        assert not any("item_counts" in problem for problem in problems)


# --- what a store has that does not go together ---------------------------------------------------


@pytest.mark.parametrize(
    ("table", "column", "value", "said"),
    [
        ("item_meta", META_SLOT, 0, "ids do not have a slot each"),
        ("item_meta", META_SLOT, -1, "ids do not have a slot each"),
        ("user_meta", META_SLOT, 1 << 40, "ids do not have a slot each"),
        ("user_meta", META_SLOT, 1 << 30, "evict first or raise the bound"),
    ],
)
def test_rows_that_do_not_go_together_are_refused_where_they_are_loaded(
    table: str, column: int, value: int, said: str
) -> None:
    store = learn_all([len(LOG) // 3 + 1])  # and a checkpoint
    image = store.load(0)
    rows = image.checkpoint.tables[table]
    values = rows.values.copy()
    values[np.flatnonzero(values[:, column] != value)[0], column] = value
    edited = Rows(rows.keys, values)
    tables = {**image.checkpoint.tables, table: edited}
    store.load = lambda partition: PartitionImage(  # type: ignore[method-assign]
        replace(image.checkpoint, tables=tables), image.entries
    )
    with pytest.raises(StoreError, match=said) as caught:
        make_learner(store, MODELS, SETTINGS).assign([0])
    assert "what the store has of partition 0 does not go together" in str(caught.value)
