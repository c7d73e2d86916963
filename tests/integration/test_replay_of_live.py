"""A live run on a real Kafka and a real Redis, executed again offline: the same parameters, and of
every logged decision the same slate with the same propensities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pytest
from msgspec.structs import replace

from streamer.application.experiments import experiment_log
from streamer.application.recorded import verify_run
from streamer.client import Publisher, Recommender
from streamer.config import Config
from streamer.events import Recommendation
from streamer_producers.simulator import Simulator, SimulatorConfig
from tests.brokers import keys_apart, topics_apart
from tests.learner_processes import Deployment, wait_until

N_ROUNDS = 8
N_USERS, N_ITEMS, K = 30, 120, 6
TIMEOUT_S = 120.0


@dataclass
class Recorded:
    """A run that has ended; its topics and its store are there."""

    config: Config
    n_decisions: int
    deployment: Deployment


@pytest.fixture(scope="module")
def recorded(
    kafka_bootstrap: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Recorded]:
    with ExitStack() as stack:
        prefix = stack.enter_context(topics_apart(kafka_bootstrap))
        settings: dict[str, object] = {
            "kafka.bootstrap_servers": kafka_bootstrap,
            "kafka.group": prefix,
            "topics.prefix": prefix,
            "topics.partitions": 3,
            "store.url": redis_url,
            "store.key_prefix": stack.enter_context(keys_apart(redis_url)),
            "join.window_s": 1.0,
            "mf.factors": 8,
            "recall.mf.candidates": 30,
            "recall.trending.candidates": 15,
            "bandit.policy": "linear-thompson",
            "bandit.uniform_share": 0.1,
            "experiments.mix.share": 0.8,
            "experiments.mix.variants.control.weight": 2,
            "experiments.mix.variants.bold.weight": 1,
            "experiments.mix.variants.bold.bandit.policy": "linucb",
            "experiments.mix.variants.bold.recall.trending.candidates": 7,
        }
        folder = tmp_path_factory.mktemp("live")
        deployment = stack.enter_context(Deployment(folder, settings))
        publisher = stack.enter_context(Publisher(config=deployment.config))
        recommender = stack.enter_context(Recommender(config=deployment.config))
        simulator = Simulator(SimulatorConfig(n_users=N_USERS, n_items=N_ITEMS, seed=1))
        for item in simulator.items():
            publisher.publish_item(item.item_id, categories=item.categories)
        publisher.flush()
        learner, scorer = deployment.start(alone=True), deployment.start_scorer()
        wait_until(lambda: "partitions_taken" in scorer.log, "the scorer takes requests")
        n_decisions = 0
        for number in range(N_ROUNDS):
            if number == N_ROUNDS // 2:
                learner.kill()
                learner = deployment.start(alone=True)
            answers = recommender.recommend_many(simulator.user_ids, k=K, timeout_s=TIMEOUT_S)
            n_decisions += len(answers)
            react(simulator, publisher, answers)
            if number % 3 == 0:
                wait_until(deployment.caught_up, "what was done so far is learned")
        wait_until(deployment.caught_up, "all is learned")
        learner.stop()
        scorer.stop()
        yield Recorded(deployment.config, n_decisions, deployment)


def react(simulator: Simulator, publisher: Publisher, answers: Sequence[Recommendation]) -> None:
    """Users click on what they were shown, and some on what they found by themselves."""
    for n, answer in enumerate(answers):
        items = [item.item_id for item in answer.items]
        for event in simulator.react(answer.user_id, items, answer.ts, answer.request_id):
            publisher.publish_event(replace(event, ts=answer.ts))
        if n % 3 == 0:
            (found,) = simulator.organic_events(np.array([answer.ts], np.int64))
            publisher.publish(type="click", user_id=answer.user_id, item_id=found.item_id)
    publisher.flush()


def test_parameters_and_slates_are_those_of_the_live_run(recorded: Recorded) -> None:
    parameters, slates = verify_run(recorded.config)
    assert parameters.problems == []
    assert parameters.n_entries == recorded.deployment.n_commits > 3 * 3
    assert slates.problems == []
    assert (slates.n_different, slates.n_without_request, slates.n_without_version) == (0, 0, 0)
    assert slates.n_same >= recorded.n_decisions == N_ROUNDS * N_USERS


def test_an_experiment_is_read_from_the_topics(recorded: Recorded) -> None:
    experiment = recorded.config.experiments["mix"]
    found = experiment_log(recorded.config, "mix", None, window_ms=1, strict=True)
    users = (f"u{n:05d}" for n in range(N_USERS))
    split = {user: experiment.variant_of("mix", user) for user in users}
    taking_part = {user: variant for user, variant in split.items() if variant is not None}
    assert {user.user_id: user.variant for user in found.users} == taking_part
    assert {*taking_part.values()} == {"control", "bold"}
    assert len(taking_part) < N_USERS
    assert {user.n_slates for user in found.users} == {N_ROUNDS}
    assert any(user.converted for user in found.users)


def test_slates_of_other_settings_are_told_apart(recorded: Recorded) -> None:
    config = recorded.config
    _, slates = verify_run(replace(config, bandit=replace(config.bandit, noise_scale=0.7)))
    assert slates.n_different > recorded.n_decisions / 2
    assert "other items" in " ".join(slates.problems)
    assert len(slates.problems) <= 20
