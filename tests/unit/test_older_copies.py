"""A store that went back to an older copy and was learned further is not mixed with what it was."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from streamer.errors import Fenced, LogTrimmed
from streamer.learner.learner import Learner
from streamer.replica.metrics import ReplicaMetrics
from streamer.replica.replica import Replica
from streamer.simulation.broker import ManualClock
from streamer.verify.execution import LearnedWith
from streamer.verify.parameters import Verification, verify_store
from streamer_models.state.partition import Bounds
from tests.event_log import (
    LogStream,
    default_rewards,
    make_learner,
    make_log,
    messages,
    small_models,
    with_settings,
)
from tests.older_copies import Copy, RevertibleStore, item_counts

MODELS = small_models()
TWO = with_settings(
    n_partitions=2, bounds=Bounds(users_max=1_000, items_max=1_000, feature_rows_max=5_000)
)
LOGS = [make_log(900, seed=20 + partition) for partition in range(2)]


def learn(learner: Learner, partition: int, start: int, end: int, *, n: int) -> None:
    for at in range(start, end, n):
        learner.learn([messages(LOGS[partition], partition, at, min(at + n, end))])


def new_learner(store: RevertibleStore, owner: str, partition: int) -> Learner:
    learner = make_learner(store, MODELS, TWO, owner=owner)
    learner.assign([partition])
    return learner


def replica_of(store: RevertibleStore, registry: CollectorRegistry) -> Replica:
    return Replica(
        store=store,
        models=MODELS,
        n_partitions=2,
        clock=ManualClock(),
        metrics=ReplicaMetrics(registry),
    )


def verified(store: RevertibleStore) -> Verification:
    return verify_store(
        store,
        learned_with=[LearnedWith(MODELS, TWO, default_rewards)],
        stream=lambda topic, p, at: LogStream(LOGS[p], p, at),
    )


@pytest.mark.parametrize("ahead", [0, 1, 4])
def test_a_replica_that_slept_loads_again(ahead: int) -> None:
    store, registry = RevertibleStore(), CollectorRegistry()
    learner = new_learner(store, "a", 0)
    learn(learner, 0, 0, 300, n=100)
    older = store.copied()
    learn(learner, 0, 300, 600, n=50)
    slept = replica_of(store, registry)
    slept.load()
    assert slept.current().model_version == "p0:9,p1:0"
    store.go_back(older)
    learn(new_learner(store, "b", 0), 0, 300, 300 + 30 * (6 + ahead), n=30)
    while slept.follow(timeout_s=0):
        pass
    fresh = replica_of(store, CollectorRegistry())
    fresh.load()
    assert slept.current().model_version == fresh.current().model_version == f"p0:{9 + ahead},p1:0"
    assert item_counts(slept.current()) == item_counts(fresh.current())
    assert slept.learned_to("events", 0) == fresh.learned_to("events", 0) == 480 + 30 * ahead
    assert registry.get_sample_value("streamer_scorer_reloads_total") == 1


def test_a_replica_goes_on_with_what_was_learned_by_another_after_it() -> None:
    store, registry = RevertibleStore(), CollectorRegistry()
    former = new_learner(store, "a", 0)
    learn(former, 0, 0, 300, n=100)
    replica = replica_of(store, registry)
    replica.load()
    former.checkpoint_all()
    learn(new_learner(store, "b", 0), 0, 300, 600, n=50)
    assert replica.follow(timeout_s=0) == 6
    assert registry.get_sample_value("streamer_scorer_reloads_total") == 0


def test_a_learner_that_slept_commits_nothing_that_it_learned_beside_others_commits() -> None:
    store = RevertibleStore()
    slept, other = new_learner(store, "a", 0), new_learner(store, "b", 1)
    learn(slept, 0, 0, 300, n=100)
    learn(other, 1, 0, 300, n=100)
    older = store.copied()
    learn(other, 1, 300, 600, n=50)
    slept.learn([])
    store.go_back(older)
    learn(new_learner(store, "c", 1), 1, 300, 700, n=40)
    assert store.versions() == {0: 3, 1: 13}
    with pytest.raises(LogTrimmed, match="partition 1 has another commit at version 9 than the fo"):
        slept.learn([messages(LOGS[0], 0, 300, 400)])
    assert store.versions() == {0: 3, 1: 13}
    slept.assign([0])
    learn(slept, 0, 300, 400, n=100)
    found = verified(store)
    assert found.problems == found.unchecked == []


def test_a_learner_whose_own_partition_was_learned_by_others_in_its_name_is_fenced() -> None:
    store = RevertibleStore()
    slept = new_learner(store, "a", 0)
    learn(slept, 0, 0, 300, n=100)
    older = store.copied()
    learn(slept, 0, 300, 600, n=100)
    store.go_back(older)
    learn(new_learner(store, "a", 0), 0, 300, 600, n=100)
    assert store.versions() == {0: 6}
    with pytest.raises(Fenced, match="partition 0 has another commit at version 6 than the one be"):
        slept.learn([messages(LOGS[0], 0, 600, 700)])


# --- one partition that went back, and others that did not -----------------------------


def learn_both(learner: Learner, start: int, end: int) -> None:
    for at in range(start, end, 50):
        learner.learn([messages(LOGS[p], p, at, at + 50) for p in range(2)])


def learned_with_a_copy(n_copied: int) -> tuple[RevertibleStore, Learner, Copy]:
    """A store in which both partitions have 300 events, its learner, and a copy of when they had
    fewer."""
    store = RevertibleStore()
    learner = make_learner(store, MODELS, TWO, owner="a")
    learner.assign([0, 1])
    learn_both(learner, 0, n_copied)
    older = store.copied()
    learn_both(learner, n_copied, 300)
    return store, learner, older


def said_of_older_copies(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [vars(each) for each in caplog.records if each.msg == "partitions_went_back"]


@pytest.mark.parametrize("n_kept", [0, 100])
@pytest.mark.parametrize("to", [300, 600])
def test_what_others_learned_from_a_partition_that_went_back_is_said_and_not_a_difference(
    caplog: pytest.LogCaptureFixture, n_kept: int, to: int
) -> None:
    store, learner, older = learned_with_a_copy(n_kept)
    version = store.versions()[0]
    store.set_back(0, older)
    assert store.versions().get(0, 0) < version
    with pytest.raises(Fenced):
        learn_both(learner, 300, 350)
    learner.assign([0, 1])
    (said,) = said_of_older_copies(caplog)
    assert said["partitions"] == [0]
    assert f"partition 0 from {version} to" in str(said["reason"])
    assert "partitions [1] keep what they learned from what is gone" in str(said["remedy"])
    for at in range(n_kept, min(300, n_kept + to - 300), 50):
        learner.learn([messages(LOGS[0], 0, at, at + 50)])
    learn_both(learner, 300, to)
    found = verified(store)
    assert found.problems == []
    (why,) = (each for each in found.unchecked if each.startswith("partition 1 can't be executed"))
    assert "of partition 0, which was lost: that partition was set back" in why


def test_the_partition_that_went_back_is_named_where_others_saw_less_of_it_then() -> None:
    store, learner, older = learned_with_a_copy(100)
    store.set_back(0, older)
    learner.assign([0, 1])
    learn(learner, 1, 300, 400, n=50)
    learn(learner, 0, 100, 400, n=50)
    learn_both(learner, 400, 600)
    said = " ".join(verified(store).unchecked)
    assert "of partition 0, which was lost" in said
    assert "of partition 1, which was lost" not in said
    assert "partition 0 can't be executed again: it was learned from what partition 1" in said


def test_a_store_that_went_back_as_a_whole_is_said_to_be_learned_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, learner, older = learned_with_a_copy(100)
    store.go_back(older)
    learner.assign([0, 1])
    (said,) = said_of_older_copies(caplog)
    assert said["partitions"] == [0, 1]
    assert "remedy" not in said
    learn_both(learner, 100, 400)
    learner.assign([0, 1])
    assert len(said_of_older_copies(caplog)) == 1
    found = verified(store)
    assert found.problems == found.unchecked == []
