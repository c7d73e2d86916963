"""Whatever is read first of events and decisions, and in whatever batches, teaches the same."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
import pytest

from streamer.config import Config, load_config
from streamer.learner.configured import learner_settings, reward_function
from streamer.learner.settings import LearnerCounts
from streamer.learner.step import PartitionLearner
from streamer.model_set import build_models
from streamer.protocols import MessageBatch
from streamer.verify.parameters import Contents, compare_contents, contents
from streamer_models.state.partition import PartitionState
from streamer_models.state.shared import SharedState
from tests import learner_processes, recorded_decisions
from tests.recorded_stream import Message

N_DECISIONS = 4_000
PUBLISHED_MS = 1_800_000_000_000


def configured() -> Config:
    flags = {
        **learner_processes.SETTINGS,
        **recorded_decisions.SETTINGS,
        "topics.partitions": 1,
        "mf.factors": 4,
    }
    return load_config(os.devnull, env={}, flags=flags)


def read(topic: str, messages: Sequence[Message], start: int, end: int) -> MessageBatch:
    chosen = messages[start:end]
    return MessageBatch(
        topic,
        0,
        [message.value for message in chosen],
        np.arange(start, start + len(chosen)),
        np.full(len(chosen), PUBLISHED_MS),
    )


def learned(messages: Sequence[Message], ends: Iterable[tuple[int, int]]) -> Contents:
    """What is learned when (decisions, events) are read up to each of ``ends`` in turn."""
    config = configured()
    settings, models = learner_settings(config), build_models(config)
    assert settings.join is not None
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
    topics = settings.join.topic, settings.topic
    decisions = [message for message in messages if message.role == "decisions"]
    of_topics = decisions, [message for message in messages if message.role != "decisions"]
    at = [0, 0]
    for end in [*ends, (len(messages), len(messages))]:
        inputs = {}
        for which, (topic, of_topic) in enumerate(zip(topics, of_topics, strict=True)):
            to = min(end[which], len(of_topic))
            if to > at[which]:
                inputs[topic] = read(topic, of_topic, at[which], to)
                at[which] = to
        if inputs:
            for _ in learner.learn(inputs):
                state.collect()
    assert at == [len(of_topic) for of_topic in of_topics]
    return contents(state)


@cache
def recorded() -> tuple[Message, ...]:
    return tuple(recorded_decisions.recorded_decisions(configured(), N_DECISIONS, seed=1))


@cache
def at_once() -> Contents:
    return learned(recorded(), [])


@pytest.mark.parametrize(("seed", "largest"), [(1, 500), (2, 100), (3, 2_000), (4, 30)])
def test_any_interleaving_teaches_the_same(seed: int, largest: int) -> None:
    rng = np.random.default_rng(seed)
    n_steps = 3 * N_DECISIONS // largest + 1
    steps = rng.integers(0, largest, size=(n_steps, 2)) * (1, 3)
    ends = [(int(d), int(e)) for d, e in np.cumsum(steps, axis=0)]
    assert compare_contents(learned(recorded(), ends), at_once()) == []


def test_the_blend_learns_from_these_decisions_too() -> None:
    _, sums = at_once().tables["blend_answers"]
    assert sums.any()
