"""Verification is content with what was learned once and in order, and reports anything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from msgspec import structs

from streamer.errors import Fenced
from streamer.learner.learner import Learner
from streamer.protocols import Entry, Layout, ParameterStore, PartitionImage
from streamer.store.layout import decode_entry, encode_entry, encode_schedule
from streamer.store.memory import MemoryStore
from streamer.store.rebuild import forget_all, forget_partition
from streamer.verify.checkpoints import verify_from_checkpoints
from streamer.verify.execution import LearnedWith, Stream
from streamer.verify.parameters import Verification, verify_store
from streamer.verify.topics import LogEnds
from streamer_models.state.table import Rows
from tests.event_log import (
    TOPIC,
    LogStream,
    default_rewards,
    make_learner,
    make_log,
    messages,
    small_models,
    with_settings,
)

N_PARTITIONS = 3
SETTINGS = with_settings(n_partitions=N_PARTITIONS)
MODELS = small_models()
LOGS = [make_log(600, seed=30 + p) for p in range(N_PARTITIONS)]
LEARNED_WITH = [LearnedWith(MODELS, SETTINGS, default_rewards)]


def verified(store: ParameterStore, *, ends: Callable[[], LogEnds] = dict) -> Verification:
    return verify_store(
        store,
        learned_with=LEARNED_WITH,
        stream=lambda topic, p, at: LogStream(LOGS[p], p, at),
        ends=ends,
    )


def learn(learner: Learner, start: int, end: int, *, size: int = 50) -> None:
    """Learn offsets ``[start, end)`` of every partition, a batch of each in turn."""
    for at in range(start, end, size):
        learner.learn([messages(LOGS[p], p, at, at + size) for p in range(N_PARTITIONS)])


class Busy(MemoryStore):
    """A store whose learner goes on whenever somebody loads a partition."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def load(self, partition: int) -> PartitionImage:
        self.meanwhile()
        return super().load(partition)


def test_a_store_that_is_learned_into_meanwhile_is_verified_as_of_its_loading() -> None:
    store = Busy()
    learner = make_learner(store, MODELS, SETTINGS)
    learner.assign(range(N_PARTITIONS))
    learn(learner, 0, 100)
    at = iter(range(100, 600, 50))
    published = 100

    def meanwhile() -> None:
        nonlocal published
        start = next(at)
        published = start + 50  # the topics grow too
        learn(learner, start, published)

    def ends() -> LogEnds:
        return {(TOPIC, p): (0, published) for p in range(N_PARTITIONS)}

    store.meanwhile = meanwhile
    found = verified(store, ends=ends)
    assert found.problems == found.unchecked == []
    # The last partition was loaded after 100 + 3 * 50 offsets, and had seen as many of the others.
    assert 3 * 200 < found.n_messages <= 3 * 250


# --- learned twice, or not at all -----------------------------------------------------------------


class Unfenced(MemoryStore):
    """A store without the compare-and-set: whoever comes last is right."""

    def commit(self, entry: Entry, *, owner: str) -> None:
        try:
            super().commit(entry, owner=owner)
        except Fenced:
            stored = self._partition(entry.partition)
            stored.schedule.append(encode_schedule(entry.schedule))
            # With the id of the last commit, or a load would notice it before any verification.
            commit_id = stored.progress.commit_id
            stored.progress = structs.replace(stored.progress.after(entry), commit_id=commit_id)


def test_two_owners_at_once_are_noticed() -> None:
    store = Unfenced()
    former, latter = (make_learner(store, MODELS, SETTINGS, owner=name) for name in "ab")
    former.assign(range(N_PARTITIONS))
    learn(former, 0, 100)
    again_from = latter.assign(range(N_PARTITIONS))
    learn(latter, again_from[TOPIC, 0], 200)
    assert verified(store).problems == []
    learn(former, 100, 200)
    assert any("should start at 200" in problem for problem in verified(store).problems)


# --- what is missing ------------------------------------------------------------------------------


@pytest.mark.parametrize("n_lost", [1, 100])
def test_schedules_that_end_too_early_are_said(n_lost: int) -> None:
    store = MemoryStore()
    learner = make_learner(store, MODELS, SETTINGS)
    learner.assign(range(N_PARTITIONS))
    learn(learner, 0, 100)
    schedule = store._partition(1).schedule
    for _ in range(min(n_lost, len(schedule))):
        schedule.pop()
    assert any("partition 1: the schedule" in problem for problem in verified(store).problems)


def test_an_empty_store_is_not_verified() -> None:
    found = verified(MemoryStore())
    (problem,) = found.problems
    assert "the store holds no commit" in problem
    assert "store.url" in problem
    assert found.refused == "nothing was verified"


@pytest.mark.parametrize(
    ("entries_max", "said"),
    [
        (5, "older entries were trimmed; raise store.schedule_entries_max"),
        (6, "none is trimmed below store.schedule_entries_max = 6: older ones were deleted by"),
    ],
)
def test_a_schedule_is_called_trimmed_only_where_it_may_have_been(
    entries_max: int, said: str
) -> None:
    store = learned()
    assert isinstance(store, MemoryStore)
    schedule = store._partition(1).schedule
    while len(schedule) > 5:
        del schedule[0]
    found = verify_store(
        store,
        learned_with=LEARNED_WITH,
        stream=trimmed_to(0, 0, 0)[1],
        schedule_entries_max=entries_max,
    )
    (problem,) = found.problems
    assert problem.startswith("partition 1: the schedule starts at version ")
    assert said in problem
    assert found.refused is not None
    assert "so nothing was executed again" in found.refused
    assert "`streamer store rebuild`" in found.refused


# --- topics whose start is gone -------------------------------------------------------------------


def trimmed_to(
    *lows: int, highs: Sequence[int] = (600,) * N_PARTITIONS
) -> tuple[dict[tuple[str, int], tuple[int, int]], Stream]:
    """Ends of the topics, and what is left of them."""
    ends = {(TOPIC, p): (low, high) for p, (low, high) in enumerate(zip(lows, highs, strict=True))}
    return ends, lambda topic, p, at: LogStream(LOGS[p], p, at, low=lows[p])


def verified_after(store: ParameterStore, *lows: int, **highs: Sequence[int]) -> Verification:
    ends, stream = trimmed_to(*lows, **highs)
    return verify_store(store, learned_with=LEARNED_WITH, stream=stream, ends=lambda: ends)


def learned(*, at: int = 0, n_checkpoints: int = 0) -> ParameterStore:
    """Learn up to offset 400 of every partition, with checkpoints after the first rounds."""
    store = MemoryStore()
    learner = make_learner(store, MODELS, SETTINGS)
    learner.assign(range(N_PARTITIONS))
    for start in range(at, 400, 50):
        learn(learner, start, min(400, start + 50))
        if n_checkpoints * 50 > start - at:
            learner.checkpoint_all()
    return store


def test_a_store_that_began_on_a_trimmed_topic_is_what_is_left_of_it() -> None:
    store = learned(at=20)
    found = verified_after(store, 20, 20, 20)
    assert found.problems == found.unchecked == []
    assert len(found.remarks) == N_PARTITIONS
    assert "begins at offset 20, the schedule needs it from 0 on; what is left" in found.remarks[0]


def test_what_was_deleted_since_is_told_from_what_differs_where_it_can_be() -> None:
    found = verified_after(learned(), 0, 20, 0)
    assert found.problems == []
    said = " ".join(found.unchecked)
    assert "partition 1" in said
    assert "topic events begins at offset 20, the schedule needs it from 0 on" in said
    assert "partition 0 was executed again up to version" in said
    assert "what follows has seen more of partitions [1]" in said


def test_a_partition_whose_first_commit_is_gone_is_not_executed() -> None:
    found = verified_after(learned(), 50, 0, 0)
    assert (found.problems, found.n_entries) == ([], 0)
    gone, *others = found.unchecked
    assert gone == (
        "partition 0 can't be executed again: topic events begins at offset 50, the schedule needs"
        " it from 0 on"
    )
    assert others == [
        f"partition {p} can't be executed again: it was learned from what partition 0 contributed"
        for p in (1, 2)
    ]


def test_what_others_have_not_seen_is_checked_all_the_same() -> None:
    store = MemoryStore()
    for p in range(N_PARTITIONS):  # none has seen those after it
        learner = make_learner(store, MODELS, SETTINGS, owner=str(p))
        learner.assign([p])
        learner.learn([messages(LOGS[p], p, 0, 50)])
    found = verified_after(store, 0, 0, 50)
    assert (len(found.unchecked), found.n_entries) == (1, len(list(store.schedule(0))) * 2)
    assert found.problems == []


def test_a_topic_that_ends_too_early_is_said_at_once() -> None:
    found = verified_after(learned(), 0, 0, 0, highs=(600, 600, 120))
    assert found.unchecked[2] == (
        "partition 2 can't be executed again: topic events ends at offset 120, but the store has"
        " learned it up to 400: it was made anew, or is not the one that was learned"
    )


def test_a_partition_without_a_commit_whose_topic_has_messages_is_named() -> None:
    store = MemoryStore()
    learner = make_learner(store, MODELS, SETTINGS)
    learner.assign([0])
    learner.learn([messages(LOGS[0], 0, 0, 50)])
    found = verified_after(store, 0, 20, 600)
    assert found.problems == found.unchecked == []
    (remark,) = found.remarks
    assert remark == (
        "partition 1: the store has no commit of it, and the topics have messages (580 of events):"
        " a learner learns them"
    )


# --- rebuilt --------------------------------------------------------------------------------------


def layout_of(store: ParameterStore) -> Layout:
    layout = store.layout()
    assert layout is not None
    return layout


def test_what_is_learned_after_all_was_forgotten_is_verified() -> None:
    store = learned(n_checkpoints=4)
    versions = store.versions()
    forget_all(store, layout_of(store), owner="rebuild")
    assert verified(store).n_entries == 0
    learner = make_learner(store, MODELS, SETTINGS)
    assert set(learner.assign(range(N_PARTITIONS)).values()) == {0}
    learn(learner, 0, 300)
    found = verified(store)
    assert found.problems == found.unchecked == []
    assert found.n_messages == N_PARTITIONS * 300
    assert found.began == {p: version + 1 for p, version in versions.items()}


def test_a_learner_that_runs_is_fenced_and_learns_again() -> None:
    store = MemoryStore()
    learner = make_learner(store, MODELS, SETTINGS)
    learner.assign(range(N_PARTITIONS))
    learn(learner, 0, 200)
    forget_all(store, layout_of(store), owner="rebuild")
    with pytest.raises(Fenced, match="is held by 'rebuild', not by 'a'"):
        learn(learner, 200, 250)
    assert set(learner.assign(range(N_PARTITIONS)).values()) == {0}
    learn(learner, 0, 250)
    assert verified(store).problems == []


def test_what_others_learned_from_a_forgotten_partition_is_said_and_checked_from_then_on() -> None:
    store = learned(n_checkpoints=4)
    forget_partition(store, 1, layout_of(store), owner="rebuild")
    learner = make_learner(store, MODELS, SETTINGS)
    learner.assign(range(N_PARTITIONS))
    learner.learn([messages(LOGS[1], 1, 0, 400)])
    learner.checkpoint_all()
    learn(learner, 400, 600)
    found = verified(store)
    assert found.problems == []
    assert "of partition 1, which was rebuilt since" in found.unchecked[0]
    assert len(found.unchecked) == N_PARTITIONS
    found = verified_from_checkpoints(store)
    assert found.problems == found.unchecked == []
    assert found.n_messages >= N_PARTITIONS * 150


# --- from checkpoints -----------------------------------------------------------------------------


def verified_from_checkpoints(store: ParameterStore, low: int = 0) -> Verification:
    ends, stream = trimmed_to(low, low, low)
    return verify_from_checkpoints(
        store, learned_with=LEARNED_WITH, stream=stream, ends=lambda: ends
    )


@pytest.mark.parametrize("low", [0, 100])
def test_what_came_after_the_checkpoints_is_executed_again(low: int) -> None:
    found = verified_from_checkpoints(learned(n_checkpoints=4), low)
    assert found.problems == found.unchecked == []
    assert found.n_messages == N_PARTITIONS * 200
    assert len(found.remarks) == N_PARTITIONS
    assert "partition 0: taken as given up to version" in found.remarks[0]


def test_entries_that_had_not_seen_the_checkpoints_of_others_are_given() -> None:
    store = MemoryStore()
    learner = make_learner(store, MODELS, SETTINGS)
    learner.assign(range(N_PARTITIONS))
    learn(learner, 0, 100)
    learner._checkpoint(learner._owned[0])
    learn(learner, 100, 200)
    learner._checkpoint(learner._owned[2])
    learn(learner, 200, 300)
    found = verified_from_checkpoints(store)
    assert found.problems == found.unchecked == []
    assert found.n_messages == N_PARTITIONS * 100
    assert "version 0 (checkpoint 0)" not in " ".join(found.remarks)


def test_a_change_after_a_checkpoint_is_found() -> None:
    store = learned(n_checkpoints=4)
    assert isinstance(store, MemoryStore)
    stored = store._partition(1)
    last = decode_entry(stored.log[stored.progress.version])
    name, rows = next((n, t) for n, t in last.change.tables.items() if t.values.dtype.kind == "f")
    tables = last.change.tables | {name: Rows(rows.keys, rows.values + 1)}
    change = replace(last.change, tables=tables)
    stored.log[last.version] = encode_entry(replace(last, change=change))
    problems = verified_from_checkpoints(store).problems
    assert problems
    assert all("partition 1, executed again against stored: table" in each for each in problems)


@pytest.mark.parametrize(("low", "said"), [(390, "begins at offset 390"), (180, "windows")])
def test_topics_that_lack_what_came_after_the_checkpoints_are_said(low: int, said: str) -> None:
    found = verified_from_checkpoints(learned(n_checkpoints=4), low)
    assert found.problems == []
    assert (not found.unchecked) == (low == 180)
    assert low == 180 or all(said in each for each in found.unchecked)


def test_a_checkpoint_of_everything_leaves_nothing_to_check() -> None:
    found = verified_from_checkpoints(learned(n_checkpoints=100))
    assert found.problems == []
    assert len(found.unchecked) == N_PARTITIONS
    assert "none of its" in found.unchecked[0]


def test_an_empty_store_has_no_checkpoints_to_begin_at() -> None:
    (problem,) = verified_from_checkpoints(MemoryStore()).problems
    assert "the store holds no commit" in problem
