"""What the features that the learner holds cost it an event, without Kafka and without a store."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import msgspec
import numpy as np

from streamer.application.services.warm_up import warm_up
from streamer.config import Config, feature_definitions, load_config
from streamer.events import Event, encode
from streamer.learner.configured import learner_settings, reward_function
from streamer.learner.settings import LearnerCounts
from streamer.learner.step import PartitionLearner
from streamer.model_set import build_models
from streamer.protocols import MessageBatch
from streamer_models.state.partition import PartitionState
from streamer_models.state.shared import SharedState

N_ROUNDS = 5


def without_held(config: Config) -> Config:
    """The same without features that the learner holds."""
    windowed = [each.name for each in feature_definitions(config) if each.held_by == "windows"]
    kept = {name: config.features[name] for name in windowed}
    return msgspec.structs.replace(config, features=kept)


def held_features_us(given: Sequence[Event]) -> dict[str, float]:
    """µs of CPU an event of one partition, decoded, learned and collected; medians over rounds in
    turn.

    ``with`` and ``without`` the default features, and what ``held`` ones cost; new ids included.
    """
    config = load_config(None, env={})
    configs = {"with": config, "without": without_held(config)}
    payloads: list[bytes | None] = [encode(each) for each in given]
    took: dict[str, list[float]] = {name: [] for name in configs}
    for _ in range(N_ROUNDS):
        for name, each in configs.items():
            took[name].append(_learn(each, payloads) / len(given) * 1e6)
    medians = {name: statistics.median(all_us) for name, all_us in took.items()}
    return {**medians, "held": medians["with"] - medians["without"]}


def _learn(config: Config, payloads: Sequence[bytes | None]) -> float:
    """Seconds of CPU for all of it."""
    settings, models = learner_settings(config), build_models(config)
    warm_up(config)
    state = PartitionState(0, models, SharedState(models), bounds=settings.bounds)
    learner = PartitionLearner(
        state,
        models,
        settings,
        reward_function(config),
        next_offsets={},
        counts=LearnerCounts(),
        dead_letter=lambda batch, rejected: None,
    )
    n, n_max = len(payloads), config.learner.batch_messages_max
    begin = time.process_time()
    for start in range(0, n, n_max):
        offsets = np.arange(start, min(start + n_max, n), dtype=np.int64)
        values = list(payloads[start : start + n_max])
        batch = MessageBatch(settings.topic, 0, values, offsets, np.full(len(offsets), -1))
        for _ in learner.learn({settings.topic: batch}):
            state.collect()
    return time.process_time() - begin
