"""Exactly-once effect: whatever is killed, the store ends as if nothing had happened.

On one partition that is compared with what an undisturbed learner makes of the same topic. On
several it depends on who saw what when, so the recorded schedule is executed again. The log is
MovieLens latest-small where ``STREAMER_DATA`` has it, else simulated clicks; it has repeated and
broken messages too. Learners run ``--alone`` where the group has no part in what is tested: there a
new member waits 10 s for one that was killed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deploy.kafka.node import KafkaNode
from tests.crashes import (
    N_KILLS,
    RATE,
    assert_same,
    assert_verified,
    finish,
    kill_learners,
    publish_catalogue,
    redis_settings,
    send_and_wait,
    share,
    topic_settings,
    undisturbed,
)
from tests.learner_processes import Deployment, LearnerProcess, wait_until
from tests.recorded_stream import Message, Stream, recorded_log
from tests.redis_server import RedisServer

N_SHORT = 30_000
N_LONG = 60_000
"""Of 417 users and 5,436 items where ratings are real: more than SETTINGS has learners keep."""


@pytest.fixture(scope="module")
def whole_log() -> list[Message]:
    name, messages = recorded_log(N_LONG)
    print(f"the log is {name}: {len(messages)} messages")
    return messages


@pytest.fixture(scope="module")
def short_log() -> list[Message]:
    return recorded_log(N_SHORT)[1]


# --- the learner is killed ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["redis", "sqlite"])
def test_a_learner_killed_many_times_ends_as_an_undisturbed_one(
    kind: str,
    kafka_bootstrap: str,
    topic_prefix: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    whole_log: list[Message],
) -> None:
    topic = topic_settings(kafka_bootstrap, topic_prefix, 1)
    store = (
        redis_settings(request)
        if kind == "redis"
        else {"store.url": f"sqlite:{tmp_path / 'killed.db'}"}
    )
    with Deployment(tmp_path / "killed", topic | store) as killed:
        publish_catalogue(killed, whole_log, n_kinds=20)
        kill_learners(killed, whole_log, seed=1)
        finish(killed)
        assert_verified(killed, whole_log)
        with undisturbed(tmp_path / "undisturbed", topic) as other:
            assert_same(killed, other)
            (contents,) = killed.contents()
            assert contents.tables["token_counts"][1].any()


def test_four_partitions_of_a_learner_killed_many_times_are_what_their_schedule_says(
    kafka_bootstrap: str,
    topic_prefix: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    whole_log: list[Message],
) -> None:
    topic = topic_settings(kafka_bootstrap, topic_prefix, 4)
    with Deployment(tmp_path, topic | redis_settings(request)) as killed:

        def say_it_anew(n: int) -> None:
            if n in (0, 3, 5):
                publish_catalogue(killed, whole_log, n_kinds=20 + n)

        kill_learners(killed, whole_log, seed=2, before=say_it_anew)
        finish(killed)
        # Most lives commit, of whichever partition.
        assert sum(killed.versions().values()) > N_KILLS
        assert_verified(killed, whole_log)


# --- partitions move ------------------------------------------------------------------------------


def test_partitions_move_to_the_survivor_and_on_to_a_newcomer(
    kafka_bootstrap: str,
    topic_prefix: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    whole_log: list[Message],
) -> None:
    topic = topic_settings(kafka_bootstrap, topic_prefix, 4)
    with Deployment(tmp_path, topic | redis_settings(request)) as deployment:
        survivor, killed = deployment.start(), deployment.start()
        share(survivor, killed)
        with Stream(deployment.config, whole_log, n_parts=5, rate=RATE) as stream:
            send_and_wait(stream, deployment)
            killed.kill()
            wait_until(lambda: survivor.partitions == [0, 1, 2, 3], "the survivor has them all")
            send_and_wait(stream, deployment)
            newcomer = deployment.start()
            share(survivor, newcomer)
            send_and_wait(stream, deployment)
            deployment.verify()  # while both learn
            newcomer.stop()
            wait_until(lambda: survivor.partitions == [0, 1, 2, 3], "the survivor has them again")
            send_and_wait(stream, deployment)
        finish(deployment, survivor)
        assert_verified(deployment, whole_log)


def test_a_learner_that_was_taken_for_dead_can_commit_no_more(
    kafka_bootstrap: str,
    topic_prefix: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    whole_log: list[Message],
) -> None:
    topic = topic_settings(kafka_bootstrap, topic_prefix, 4)
    # Small batches and a stream at full speed, so that the frozen one has messages in hand; a long
    # log, so that it learns of its loss from the refused commit and not from what it missed.
    slow = {"learner.batch_messages_max": 100, "store.log_entries_kept": 100_000}
    with Deployment(tmp_path, topic | redis_settings(request) | slow) as deployment:
        survivor, frozen = deployment.start(), deployment.start()
        share(survivor, frozen)
        with Stream(deployment.config, whole_log, n_parts=2, rate=1e6) as stream:
            send_and_wait(stream, deployment)
            frozen.freeze()
            wait_until(lambda: survivor.partitions == [0, 1, 2, 3], "the survivor has them all")
            wait_until(deployment.caught_up, "the survivor has learned the frozen one's share")
            frozen.thaw()
            share(survivor, frozen)
        wait_until(deployment.caught_up, "both have caught up")
        print(f"the frozen one was fenced off: {'is held by' in frozen.log}")
        frozen.stop()
        survivor.stop()
        assert_verified(deployment, whole_log)


# --- the broker or the store is killed ------------------------------------------------------------


def supervised(deployment: Deployment, learner: LearnerProcess, **how: bool) -> LearnerProcess:
    """Let a learner catch up; where it ends with an error that names the cause, start another."""
    learners = [learner]

    def done() -> bool:
        if not learners[-1].running:
            assert "error:" in learners[-1].log
            assert "Traceback" not in learners[-1].log.rpartition("error:")[2]
            learners.append(deployment.start(**how))
        return deployment.caught_up()

    wait_until(done, "the learner has caught up after an outage")
    print(f"{len(learners) - 1} learners ended with an error")
    return learners[-1]


def test_a_broker_that_is_stopped_and_killed_changes_nothing(
    kafka_broker: KafkaNode, tmp_path: Path, short_log: list[Message]
) -> None:
    topic = topic_settings(kafka_broker.bootstrap_servers, "outage-", 1)
    store = {"store.url": f"sqlite:{tmp_path / 'outage.db'}"}
    with Deployment(tmp_path / "outage", topic | store) as deployment:
        learner = deployment.start()
        with Stream(deployment.config, short_log, n_parts=3, rate=RATE) as stream:
            for end in (kafka_broker.stop, kafka_broker.kill):
                send_and_wait(stream, deployment)
                end()
                kafka_broker.start()
        supervised(deployment, learner).stop()
        assert_verified(deployment, short_log)
        with undisturbed(tmp_path / "undisturbed", topic) as other:
            assert_same(deployment, other)


def test_a_redis_that_is_killed_changes_nothing(
    kafka_bootstrap: str,
    topic_prefix: str,
    redis_server: RedisServer,
    tmp_path: Path,
    short_log: list[Message],
) -> None:
    topic = topic_settings(kafka_bootstrap, topic_prefix, 1)
    with Deployment(tmp_path / "outage", topic | {"store.url": redis_server.url}) as deployment:
        learner = deployment.start(alone=True)
        with Stream(deployment.config, short_log, n_parts=4, rate=RATE) as stream:
            for _ in range(3):
                send_and_wait(stream, deployment)
                redis_server.kill()
                redis_server.start()
        supervised(deployment, learner, alone=True).stop()
        assert_verified(deployment, short_log)
        with undisturbed(tmp_path / "undisturbed", topic) as other:
            assert_same(deployment, other)


def test_learners_of_a_group_wait_for_a_redis_that_is_killed(
    kafka_bootstrap: str,
    topic_prefix: str,
    redis_server: RedisServer,
    tmp_path: Path,
    short_log: list[Message],
) -> None:
    topic = topic_settings(kafka_bootstrap, topic_prefix, 4)
    with Deployment(tmp_path, topic | {"store.url": redis_server.url}) as deployment:
        first, second = deployment.start(), deployment.start()
        share(first, second)
        with Stream(deployment.config, short_log, n_parts=4, rate=RATE) as stream:
            for _ in range(3):
                send_and_wait(stream, deployment)
                redis_server.kill()
                redis_server.start()
        wait_until(deployment.caught_up, "both have caught up")
        first.stop()
        second.stop()
        assert_verified(deployment, short_log)


def test_what_a_redis_has_lost_is_learned_again(
    kafka_bootstrap: str,
    topic_prefix: str,
    redis_server: RedisServer,
    tmp_path: Path,
    short_log: list[Message],
) -> None:
    """As after a crash of its machine: the last commits are gone, the learner is still there."""
    topic = topic_settings(kafka_bootstrap, topic_prefix, 1)
    with Deployment(tmp_path / "outage", topic | {"store.url": redis_server.url}) as deployment:
        learner = deployment.start(alone=True)
        with Stream(deployment.config, short_log, n_parts=3, rate=RATE) as stream:
            send_and_wait(stream, deployment)
            redis_server.stop()
            shutil.copytree(tmp_path / "redis", tmp_path / "copy")
            redis_server.start()
            send_and_wait(stream, deployment)
            n_commits = deployment.n_commits
            redis_server.kill()
            shutil.rmtree(tmp_path / "redis")
            shutil.copytree(tmp_path / "copy", tmp_path / "redis")
            redis_server.start()
            assert deployment.n_commits < n_commits
        finish(deployment, learner)
        assert "rejoining" in learner.log
        assert_verified(deployment, short_log)
        with undisturbed(tmp_path / "undisturbed", topic) as other:
            assert_same(deployment, other)
