"""The models a configuration asks for, and the layout of a store that holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from streamer.config import Config, FeatureDefinition, feature_definitions
from streamer.events import EventTypes
from streamer.events.types import DEFAULT_TYPES, IMPRESSION
from streamer.protocols import STORE_SCHEMA_VERSION, Layout
from streamer.ranking.columns import feature_names
from streamer.ranking.recall.registry import channels_on
from streamer_models.bandits.bandit import Bandit
from streamer_models.counters.decayed_counters import DecayedFeature
from streamer_models.counters.decayed_features import DecayedFeatures
from streamer_models.counters.history import UserHistory
from streamer_models.counters.impressions import UserImpressions
from streamer_models.counters.last_events import LastEvent
from streamer_models.counters.popularity import Popularity
from streamer_models.state.ingest import Feedback, admit
from streamer_models.state.inputs import Events, Examples, Inputs, ShownItems
from streamer_models.state.model import Model, learn, make_room, model_of
from streamer_models.state.partition import Bounds, PartitionState, all_specs
from streamer_models.state.shared import SharedState
from streamer_models.state.table import Change


def build_models(config: Config) -> list[Model]:
    """Models in the order in which they learn a batch."""
    bandit, half_lives_s = config.bandit, tuple(config.popularity.half_lives_s)
    models: list[Model] = [
        UserHistory(length=config.mf.history),
        Popularity(half_lives_s=half_lives_s),
        *(model for channel in channels_on(config) for model in channel.models()),
        Bandit(
            n_features=len(feature_names(config)),
            half_lives_s=half_lives_s,
            half_life_s=bandit.half_life_s,
            per_arm=bandit.form == "disjoint",
        ),
    ]
    if bandit.impressions:
        models.append(UserImpressions(event_type=IMPRESSION, length=bandit.impressions))
    if features := decayed_features(config):
        models.append(DecayedFeatures(features))
    return models


def decayed_features(config: Config) -> list[DecayedFeature | LastEvent]:
    """The features that the learner holds, in the order of their names."""
    types = config.event_types
    held = (each for each in feature_definitions(config) if each.held_by == "learner")
    return [_held(each, types) for each in held]


def _held(feature: FeatureDefinition, types: EventTypes) -> DecayedFeature | LastEvent:
    numerator = tuple(types.codes[name] for name in feature.numerator)
    if feature.measure == "recency":
        return LastEvent(name=feature.name, entity=feature.entity, types=numerator)
    return DecayedFeature(
        name=feature.name,
        entity=feature.entity,
        numerator=numerator,
        denominator=tuple(types.codes[name] for name in feature.denominator),
        sums_values=feature.measure == "value",
        half_life_ms=feature.half_life_ms,
        smoothing=feature.smoothing,
    )


def bounds(config: Config) -> Bounds:
    """Bounds of a partition's id tables."""
    learner = config.learner
    return Bounds(
        users_max=learner.users_max,
        items_max=learner.items_max,
        user_sightings_min=learner.user_sightings_min,
        item_sightings_min=learner.item_sightings_min,
        arms_max=config.bandit.arms_max,
        feature_rows_max=learner.feature_rows_max,
    )


def store_layout(config: Config, models: Sequence[Model]) -> Layout:
    """The layout a store needs for this configuration.

    Its fingerprint covers every setting that changes what is learned, so that a store is never
    continued with settings under which its past could not be executed again.
    """
    learner = config.learner
    features = model_of(models, DecayedFeatures)
    learned_from = {
        "model": learner.model,
        "seed": learner.seed,
        "dedup_window": learner.dedup_window,
        "bounds": [
            learner.users_max,
            learner.items_max,
            learner.user_sightings_min,
            learner.item_sightings_min,
            learner.idle_expiry_s,
        ],
        "mf": config.mf,
        "popularity": config.popularity,
        "event_types": config.events,
        "events": config.topics.events,
        "decisions": config.topics.decisions,
        "join": config.join,
        "features": feature_names(config),
        "arms_max": config.bandit.arms_max,
        "impressions": config.bandit.impressions,
        "bandit_half_life_s": config.bandit.half_life_s,
        "feature_rows_max": learner.feature_rows_max,
        "counters": None if features is None else _counted(features, config.event_types),
    }
    digest = hashlib.blake2b(msgspec.json.encode(learned_from, order="sorted"), digest_size=8)
    return Layout(
        schema_version=STORE_SCHEMA_VERSION,
        n_partitions=config.topics.partitions,
        tables=tuple(all_specs(models)),
        fingerprint=digest.hexdigest(),
    )


def _counted(features: DecayedFeatures, types: EventTypes) -> object:
    """What is counted, with types by their names: a code changes when a type is added."""

    def named(codes: Sequence[int]) -> list[str]:
        return [types.names[code] for code in codes]

    counters = {
        entity: [(named(each.types), each.half_life_ms, each.sums_values) for each in of_entity]
        for entity, of_entity in features.counters.items()
    }
    return counters, {
        entity: [named(kinds) for kinds in of_entity]
        for entity, of_entity in features.last_events.items()
    }


MADE_UP_MS: Final = 1_700_000_000_000
"""Time of the made-up events."""
MADE_UP_IDS: Final = ("0", "1", "2", "3")
"""Users, items and surfaces of the made-up events, each the item of the user of the same name."""


def compile_kernels(models: Sequence[Model], config: Config) -> None:
    """Learn a few made-up events into nowhere, so that no real one waits for a compiler."""
    other = SharedState(models)
    for change in made_up_changes(models, config):
        other.apply(change)


def made_up_changes(models: Sequence[Model], config: Config) -> list[Change]:
    """Return what a partition would commit of a few made-up events, of every kind of input."""
    state = PartitionState(0, models, SharedState(models), bounds=Bounds(users_max=4, items_max=2))
    n = len(DEFAULT_TYPES)
    offsets = np.arange(n, dtype=np.int64)
    ts_ms = np.full(n, MADE_UP_MS, dtype=np.int64)
    ids, nan = [MADE_UP_IDS[i % len(MADE_UP_IDS)] for i in range(n)], np.full(n, np.nan)
    rewards = np.where(offsets % 4 == 2, -1.0, 1.0)
    feedback = Feedback(offsets, ts_ms, ids, ids, rewards.astype(np.float32), nan)
    events = Events(offsets, ts_ms, offsets.astype(np.int8), nan, ids, ids, ids)
    shown = ShownItems(offsets, ts_ms, ids)
    features = np.ones((n, len(feature_names(config))), dtype=np.float32)
    outcomes = Examples(offsets, ts_ms, ids, features, before=nan, after=np.ones(n))
    make_room(models, Inputs(events=events, shown=shown), state)
    changes = []
    for segment in admit(feedback, state, from_offset=0, to_offset=n):
        learn(models, Inputs(feedback=segment.batch), state)
        changes.append(state.collect())
    learn(models, Inputs(events=events, shown=shown, examples=outcomes), state)
    changes.append(state.collect())
    return changes
