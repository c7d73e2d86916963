"""A store goes on under other settings: what changed begins anew at a recorded version, alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from streamer.config import Config, load_config
from streamer.errors import LayoutMismatch
from streamer.events import Event, encode, message_key
from streamer.learner.configured import learner_settings, reward_function
from streamer.learner.learner import Learner
from streamer.learner.practice.practice import Practice
from streamer.model_set import build_models, store_layout
from streamer.protocols import Layout, MessageBatch, ParameterStore
from streamer.replica.metrics import ReplicaMetrics
from streamer.replica.replica import Replica
from streamer.replica.version import version_name
from streamer.simulation.broker import ManualClock, MemoryBroker, Record
from streamer.store import open_store
from streamer.store.agreement import Difference, in_words
from streamer.store.of_models import StoreOfModels
from streamer.verify.execution import learned_with
from streamer.verify.parameters import Contents, image_contents, verify_store
from streamer_models.bandits.bandit import STATISTICS
from streamer_models.counters.impressions import UserImpressions
from streamer_models.factorization.mf import ImplicitMF
from streamer_models.state.ids.id_table import keys_of
from tests import learner_processes, recorded_decisions
from tests.event_log import Dead
from tests.recorded_stream import Message

N_PARTITIONS = 2
N_DECISIONS = 150
BATCH = 150
OWN = "of the test"
Reads = tuple[str, int]


def configured(**changes: object) -> Config:
    """Small bounds; changes by dotted key, with two underscores for each dot."""
    flags = {
        **learner_processes.SETTINGS,
        **recorded_decisions.SETTINGS,
        "bandit.arms_max": 150,
        "topics.partitions": N_PARTITIONS,
        "mf.factors": 4,
        "recall.mf.candidates": 10,
        "learner.users_max": 100,
        "learner.items_max": 150,
        "learner.feature_rows_max": 100,
        **{name.replace("__", "."): value for name, value in changes.items()},
    }
    return load_config(os.devnull, env={}, flags=flags)


BEFORE = configured()
OTHER_COLUMNS = configured(bandit__time_features=True)
OTHER_REWARDS = configured(events__click__weight=3.0, join__default_reward=-0.5)
NO_FEATURES = configured(windows__default_features=False)


@cache
def recorded(seed: int, *, other_columns: bool = False) -> tuple[Message, ...]:
    config = OTHER_COLUMNS if other_columns else BEFORE
    return tuple(recorded_decisions.recorded_decisions(config, N_DECISIONS, seed=seed))


class Topics:
    """Two topics that grow."""

    def __init__(self) -> None:
        topics = BEFORE.topics
        self.names = topics.topic("events"), topics.topic("decisions")
        self.broker = MemoryBroker(dict.fromkeys(self.names, N_PARTITIONS))
        self._n = count()

    def publish(self, messages: Sequence[Message]) -> None:
        for message in messages:
            events, decisions = self.names
            topic = decisions if message.role == "decisions" else events
            publish_ms = recorded_decisions.START_MS + 10_000_000 + next(self._n)
            self.broker.append(topic, Record(message.key, message.value, publish_ms))

    def read(self, where: Reads, start: int, end: int) -> MessageBatch:
        records = self.broker.read(where, start, end - start)
        return MessageBatch(
            *where,
            [record.value for record in records],
            np.arange(start, start + len(records), dtype=np.int64),
            np.array([record.publish_ms for record in records], dtype=np.int64),
        )

    def stream(self, topic: str, partition: int, at: int) -> TopicStream:
        return TopicStream(self, (topic, partition), at)


class TopicStream:
    """One partition from an offset on, for verification."""

    def __init__(self, topics: Topics, where: Reads, at: int) -> None:
        self._topics, self._where, self._at = topics, where, at

    def take(self, to_offset: int) -> MessageBatch:
        batch = self._topics.read(self._where, self._at, to_offset)
        self._at = to_offset
        return batch


class Learning:
    """One life of a learner under a configuration."""

    def __init__(
        self,
        config: Config,
        store: ParameterStore,
        topics: Topics,
        *,
        owner: str = OWN,
        practises: bool = False,
    ) -> None:
        self.models = build_models(config)
        self.store = StoreOfModels(store, store_layout(config, self.models), learns=True)
        self.settings = learner_settings(
            config, generation=self.store.generation, entities=self.store.entities
        )
        self.dead = Dead()
        self.learner = Learner(
            store=self.store,
            models=self.models,
            settings=self.settings,
            rewards=reward_function(config),
            practice=Practice(config) if practises else None,
            owner=owner,
            clock=ManualClock(1),
            dead_letter=self.dead,
        )
        self._topics = topics
        self._at = self.learner.assign(range(N_PARTITIONS))

    def learn(self, *, only: int | None = None, n_rounds: int = 1_000) -> None:
        """Learn what is there, of one partition or of all; checkpoint after each third round."""
        for n in range(n_rounds):
            ends = {where: self._topics.broker.end(where) for where in self._at}
            batches = [
                self._topics.read(where, at, min(end, at + BATCH))
                for (where, at), end in zip(self._at.items(), ends.values(), strict=True)
                if at < end and (only is None or where[1] == only)
            ]
            if not batches:
                break
            for batch in batches:
                self._at[batch.topic, batch.partition] = int(batch.offsets[-1]) + 1
            lag = {where: end - self._at[where] for where, end in ends.items()}
            self.learner.learn(batches, lag=lag)
            if n % 3 == 2:
                self.learner.checkpoint_all()

    def contents(self) -> list[Contents]:
        images = (self.store.load(p) for p in range(N_PARTITIONS))
        return [image_contents(image, self.models, self.settings) for image in images]


def learn(
    config: Config, store: ParameterStore, topics: Topics, messages: Sequence[Message]
) -> Learning:
    """Publish messages and have a new learner learn them."""
    topics.publish(messages)
    learning = Learning(config, store, topics)
    learning.learn()
    return learning


def verified(store: ParameterStore, topics: Topics) -> list[str]:
    generations = learned_with(layout_of(store), items="items")
    return verify_store(store, learned_with=generations, stream=topics.stream).problems


def layout_of(store: ParameterStore) -> Layout:
    layout = store.layout()
    assert layout is not None
    return layout


def since(store: ParameterStore) -> dict[str, int]:
    """Model → generation in which its tables began."""
    return {name: model.since for name, model in layout_of(store).generations[-1].models.items()}


def n_outcomes(store: ParameterStore, table: str) -> int:
    """Outcomes in the shared statistics of all partitions; the first feature is always 1."""
    total = 0
    for p in range(N_PARTITIONS):
        image = store.load(p)
        changes = [image.checkpoint.tables.get(table)]
        changes += [entry.change.tables.get(table) for entry in image.entries]
        total += sum(int(rows.values[0, 0]) for rows in changes if rows is not None and len(rows))
    return total >> 24


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ParameterStore]:
    url = "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 'store.db'}"
    store = open_store(url, log_entries_kept=1_000)
    yield store
    store.close()


# --- one model begins anew ------------------------------------------------------------------------


def test_other_ranking_columns_let_embeddings_stay(store: ParameterStore) -> None:
    topics = Topics()
    first = learn(BEFORE, store, topics, recorded(1))
    before = first.contents()
    n_before = n_outcomes(store, STATISTICS)
    assert n_before > 100
    opened = Learning(OTHER_COLUMNS, store, topics)
    after = opened.contents()
    assert since(store) == {name: int(name == "Bandit") for name in since(store)}
    for left, right in zip(before, after, strict=True):
        assert left.names == right.names
        for name, (keys, values) in left.tables.items():
            begins_anew = name.startswith(("bandit_", "arm_")) and "_meta" not in name
            begins_anew &= "_sightings" not in name
            found = right.tables[name]
            assert begins_anew == (found[1].tobytes() != values.tobytes()), name
            assert begins_anew or found[0].tobytes() == keys.tobytes()
            assert not begins_anew or not found[1].any(), name
    topics.publish(recorded(2, other_columns=True))
    opened.learn()
    counts = opened.learner.counts.join
    assert n_outcomes(store, f"{STATISTICS}@1") == counts.n_outcomes > 100
    opened.learner.checkpoint_all()
    assert n_outcomes(store, STATISTICS) == 0, "the former rows are given up"
    assert verified(store, topics) == []


def test_settings_that_come_back_are_another_generation(store: ParameterStore) -> None:
    topics = Topics()
    learn(BEFORE, store, topics, recorded(1))
    learn(OTHER_COLUMNS, store, topics, recorded(2, other_columns=True))
    learn(BEFORE, store, topics, recorded(3))
    assert since(store)["Bandit"] == 2
    assert verified(store, topics) == []


def test_features_that_go_and_come_back(store: ParameterStore) -> None:
    topics = Topics()
    learn(BEFORE, store, topics, recorded(1))
    learn(NO_FEATURES, store, topics, recorded(2))
    assert "DecayedFeatures" not in since(store)
    learn(BEFORE, store, topics, recorded(3))
    assert since(store)["DecayedFeatures"] == 2
    assert verified(store, topics) == []


def test_another_factorization_begins_anew_and_the_bandit_goes_on(store: ParameterStore) -> None:
    topics = Topics()
    learn(BEFORE, store, topics, recorded(1))
    n_before = n_outcomes(store, STATISTICS)
    second = learn(configured(mf__factors=6), store, topics, recorded(2))
    assert since(store) == {name: int(name == "ImplicitMF") for name in since(store)}
    n_after = n_outcomes(store, STATISTICS)
    assert n_after == n_before + second.learner.counts.join.n_outcomes
    assert verified(store, topics) == []


# --- practice, rewards, joins, event types --------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("recall.popular.candidates", 1),
        ("recall.similar.candidates", 3),
        ("recall.again.candidates", 5),
    ],
)
def test_what_is_practised_on_may_change_from_one_commit_to_the_next(
    key: str, value: int, store: ParameterStore
) -> None:
    topics = Topics()
    topics.publish(recorded(1))
    Learning(BEFORE, store, topics, practises=True).learn()
    topics.publish(recorded(2))
    Learning(configured(**{key: value}), store, topics, practises=True).learn()
    generations = layout_of(store).generations
    assert [each.learner.get(key) for each in generations][1:] == [value]
    assert verified(store, topics) == []


def test_what_only_serves_is_no_other_generation(store: ParameterStore) -> None:
    topics = Topics()
    learn(BEFORE, store, topics, recorded(1))
    other = configured(recall__fresh__weight=0.5, bandit__policy="greedy", slate__diversity=0.5)
    learn(other, store, topics, recorded(2))
    assert len(layout_of(store).generations) == 1


def test_other_rewards_go_on_with_every_model(store: ParameterStore) -> None:
    topics = Topics()
    learn(BEFORE, store, topics, recorded(1))
    second = learn(OTHER_REWARDS, store, topics, recorded(2))
    assert set(since(store).values()) == {0}
    layout = layout_of(store)
    weights = [each.learner["events.click.weight"] for each in layout.generations]
    assert weights == [1.0, 3.0]
    generations = [schedule.generation for schedule in store.schedule(0)]
    assert generations == sorted(generations)
    assert set(generations) == {0, 1}
    assert second.learner.counts.join.reward_sum != 0
    assert verified(store, topics) == []


def test_a_type_that_is_added_counts_from_then_on(store: ParameterStore) -> None:
    topics = Topics()
    saves = [
        Event(
            event_id=f"save-{n}",
            type="save",
            user_id=f"user-{n % 30}",
            item_id=f"item-{n % 7}",
            ts=recorded_decisions.START_MS + n,
        )
        for n in range(120)
    ]
    messages = [Message(message_key(event), encode(event)) for event in saves]
    first = learn(BEFORE, store, topics, [*recorded(1), *messages[:60]])
    assert sum("save" in reason for _, reason in first.dead) == 60
    # Some that were refused come again: their ids are in the window, as they would be live.
    added = configured(events__save__weight=2.0)
    second = learn(added, store, topics, [*messages[40:], *recorded(2)])
    assert not [reason for _, reason in second.dead if "save" in reason]
    assert set(since(store).values()) == {0}
    assert verified(store, topics) == []


def test_a_model_that_states_more_than_it_did_begins_anew_alone(
    store: ParameterStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A store of the version in which impressions did not say of which type they are."""
    topics = Topics()
    with monkeypatch.context() as former:
        former.setattr(UserImpressions, "settings", lambda self: {"length": self.length})
        learn(BEFORE, store, topics, recorded(1))
        assert verified(store, topics) == []
    with caplog.at_level(logging.WARNING):
        second = learn(BEFORE, store, topics, recorded(2))
    assert since(store) == {name: int(name == "UserImpressions") for name in since(store)}
    (said,) = (vars(each) for each in caplog.records if each.msg == "settings_changed")
    assert said["models_that_begin_anew"] == ["UserImpressions"]
    assert said["changes"] == ['UserImpressions.event_type is absent, asked for "impression"']
    second.learner.checkpoint_all()
    assert np.concatenate([each.tables["user_impressions"][1] for each in second.contents()]).any()
    with pytest.raises(LayoutMismatch) as caught:
        verified(store, topics)
    assert "model UserImpressions can't be made as it is recorded" in str(caught.value)
    assert "Run the version that wrote it" in str(caught.value)


def test_a_change_of_many_numbers_is_said_in_few_words(
    store: ParameterStore, caplog: pytest.LogCaptureFixture
) -> None:
    topics = Topics()
    learn(BEFORE, store, topics, recorded(1))
    with caplog.at_level(logging.WARNING):
        many = configured(bandit__context=[f"surface=place {n}" for n in range(32)])
        learn(many, store, topics, recorded(2))
    (said,) = (vars(each) for each in caplog.records if each.msg == "settings_changed")
    fields = [name for name in said if name in ("models_that_begin_anew", "changes")]
    assert fields == ["models_that_begin_anew", "changes"]
    line = " ".join(said["changes"])
    assert "values)" in line
    assert len(line) < 1_100


def test_differences_beyond_many_are_counted() -> None:
    found = [Difference(f"key {n}", "x" * 81, [n]) for n in range(25)]
    said = in_words(found)
    assert said[0] == f'key 0 is "{"x" * 79}… (83 characters), asked for [0]'
    assert (len(said), said[-1]) == (9, "and 17 more")
    assert len(" ".join(said)) < 1_100
    few = [Difference(f"key {n}", 1, 2) for n in range(25)]
    assert (len(in_words(few)), in_words(few)[-1]) == (21, "and 5 more")
    assert in_words(few[:20])[-1].startswith("key 19 is ")


# --- what cannot go on ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"learner__seed": 7}, "learner.seed is 0, asked for 7"),
        ({"topics__partitions": 3}, "topics.partitions is 2, asked for 3"),
        ({"learner__users_max": 99}, "learner.users_max is 100, asked for 99"),
        ({"learner__dedup_window": 10}, "learner.dedup_window is 3000, asked for 10"),
        ({"topics__prefix": "x-"}, 'topics.prefix is "", asked for "x-"'),
    ],
)
@pytest.mark.parametrize("learns", [True, False])
def test_what_cannot_go_on_is_said_by_key_and_value(
    store: ParameterStore, change: dict[str, object], said: str, learns: bool
) -> None:
    learn(BEFORE, store, Topics(), recorded(1)[:50])
    before = layout_of(store)
    other = configured(**change)
    with pytest.raises(LayoutMismatch) as caught:
        StoreOfModels(store, store_layout(other, build_models(other)), learns=learns)
    assert said in str(caught.value)
    assert "Set " in str(caught.value)
    assert "store.url" in str(caught.value)
    assert layout_of(store) == before


# --- crashes, several learners --------------------------------------------------------------------


@pytest.mark.parametrize("after", [OTHER_COLUMNS, OTHER_REWARDS], ids=["columns", "rewards"])
def test_a_learner_killed_while_some_partitions_have_changed(
    store: ParameterStore, after: Config
) -> None:
    topics = Topics()
    learn(BEFORE, store, topics, recorded(1))
    topics.publish(recorded(2, other_columns=after is OTHER_COLUMNS))
    Learning(after, store, topics, owner="killed before it committed")
    Learning(after, store, topics, owner="killed in partition 0").learn(only=0, n_rounds=5)
    assert [[s.generation for s in store.schedule(p)][-1] for p in range(2)] == [1, 0]
    assert verified(store, topics) == []
    Learning(after, store, topics, owner="killed later").learn(n_rounds=5)
    Learning(after, store, topics, owner="the last").learn()
    assert [[s.generation for s in store.schedule(p)][-1] for p in range(2)] == [1, 1]
    assert layout_of(store).newest == 1
    assert verified(store, topics) == []


def test_a_learner_with_former_settings_takes_no_partition_any_more(store: ParameterStore) -> None:
    topics = Topics()
    former = learn(BEFORE, store, topics, recorded(1)[:100])
    Learning(OTHER_REWARDS, store, topics, owner="with other rewards")
    with pytest.raises(LayoutMismatch) as caught:
        former.learner.assign([0])
    assert "events.click.weight is 3.0, asked for 1.0" in str(caught.value)
    assert "Start this one again" in str(caught.value)


# --- scorers --------------------------------------------------------------------------------------


def replica_of(config: Config, store: ParameterStore) -> Replica:
    models = build_models(config)
    replica = Replica(
        store=StoreOfModels(store, store_layout(config, models), learns=False),
        models=models,
        n_partitions=N_PARTITIONS,
        clock=ManualClock(1),
        metrics=ReplicaMetrics(CollectorRegistry()),
    )
    replica.load()
    return replica


def follow_to_the_end(replica: Replica, store: ParameterStore) -> None:
    newest = version_name({p: store.versions().get(p, 0) for p in range(N_PARTITIONS)})
    for _ in range(1_000):
        if replica.current().model_version == newest:
            return
        replica.follow(timeout_s=0)
    pytest.fail(f"{replica.current().model_version} is not {newest}")


def known(replica: Replica) -> dict[str, bytes]:
    """Factors of all users, and the outcomes of all arms."""
    version = replica.current()
    rows = version.users.map.find(keys_of([f"user-{n}" for n in range(300)]))
    factorization = version.model(ImplicitMF)
    assert factorization is not None
    of_users = version.tables.read(factorization.user_factors)
    factors = [of_users.row(row) for row in rows.tolist() if row >= 0]
    return {
        "factors": b"".join(each.tobytes() for each in factors if each is not None),
        "outcomes": version.bandit.arms.totals.tobytes(),
    }


def test_scorers_follow_a_learner_with_other_settings(
    store: ParameterStore, caplog: pytest.LogCaptureFixture
) -> None:
    topics = Topics()
    learn(BEFORE, store, topics, recorded(1))
    running, early = replica_of(BEFORE, store), replica_of(OTHER_COLUMNS, store)
    assert [each.differences for each in caplog.records if hasattr(each, "differences")]
    outcomes = known(running)["outcomes"]
    assert outcomes != known(early)["outcomes"], "nothing of the bandit is known to it"
    caplog.clear()
    second = learn(OTHER_COLUMNS, store, topics, recorded(2, other_columns=True))
    second.learner.checkpoint_all()
    for replica in (running, early):
        follow_to_the_end(replica, store)
    late = replica_of(OTHER_COLUMNS, store)
    told = [str(each.differences) for each in caplog.records if hasattr(each, "differences")]
    assert ["Bandit.features" in each for each in told] == [True], "by the one that stays as it was"
    # The scorer that was configured anew has what one has that starts now; the other has the same
    # embeddings, and the outcomes up to the change.
    assert known(early) == known(late)
    assert known(running)["factors"] == known(late)["factors"] != b""
    assert known(running)["outcomes"] == outcomes
    assert known(late)["outcomes"] != outcomes
    # What it can't load again, it no longer has.
    running.load()
    assert known(running)["factors"] == known(late)["factors"]
    assert not np.frombuffer(known(running)["outcomes"]).any()
