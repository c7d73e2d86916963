"""The models a configuration asks for, and the layout of a store that holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from streamer.config import (
    Config,
    FeatureDefinition,
    config_of,
    feature_definitions,
    values_of,
)
from streamer.errors import ConfigError, LayoutMismatch
from streamer.events import EventTypes
from streamer.events.profiles import PROFILE_WORDS
from streamer.events.types import IMPRESSION
from streamer.protocols import STORE_SCHEMA_VERSION, Generation, Layout, ModelSettings
from streamer.ranking.columns import feature_names
from streamer.ranking.recall.registry import channels_on, measuring_on
from streamer_models.bandits.bandit import Bandit
from streamer_models.bandits.objectives import Objectives
from streamer_models.counters.consumptions import ItemConsumptions
from streamer_models.counters.decayed_counters import DecayedFeature
from streamer_models.counters.decayed_features import DecayedFeatures
from streamer_models.counters.history import UserHistory
from streamer_models.counters.impressions import UserImpressions
from streamer_models.counters.last_events import LastEvent
from streamer_models.counters.popularity import Popularity
from streamer_models.counters.profiles import UserProfiles
from streamer_models.counters.seen import UserSeen
from streamer_models.state.model import Model
from streamer_models.state.partition import Bounds, all_specs


def recall_models(config: Config) -> list[Model]:
    """Models that recall channels read, in the order in which they learn a batch."""
    return [
        UserHistory(length=config.mf.history),
        UserProfiles(words=PROFILE_WORDS),
        *([UserSeen(length=config.mf.seen)] if config.mf.seen else []),
        ItemConsumptions(),
        Popularity(half_lives_s=tuple(config.popularity.half_lives_s)),
        *(model for channel in channels_on(config) for model in channel.models()),
    ]


def build_models(config: Config) -> list[Model]:
    """Models in the order in which they learn a batch."""
    models = recall_models(config)
    if config.funnel.ranker == "bandit":
        models += bandit_models(config)
    if features := decayed_features(config):
        models.append(DecayedFeatures(features, type_names=config.event_types.names))
    return models


def bandit_models(config: Config) -> list[Model]:
    """Models of what became of slates, which the bandit alone reads."""
    bandit, names = config.bandit, feature_names(config)
    models: list[Model] = [
        Bandit(
            n_features=len(names),
            half_lives_s=tuple(config.popularity.half_lives_s),
            half_life_s=bandit.half_life_s,
            per_arm=bandit.form == "disjoint",
            feature_names=names,
            propensity_weight_max=bandit.propensity_weight_max,
        )
    ]
    if config.objectives:
        models.append(
            Objectives(
                objectives={name: each.events for name, each in config.objectives.items()},
                feature_names=names,
                counted_half_life_s=config.popularity.half_lives_s[-1],
                half_life_s=bandit.half_life_s,
                propensity_weight_max=bandit.propensity_weight_max,
            )
        )
    if bandit.impressions:
        models.append(
            UserImpressions(
                event_type=IMPRESSION,
                type_name=config.event_types.names[IMPRESSION],
                length=bandit.impressions,
            )
        )
    return models


def learned_for(config: Config) -> dict[str, str]:
    """Return name of each model → what it is learned for, in words."""
    found = {model.name: "what users met and what is popular" for model in recall_models(config)}
    for channel in channels_on(config):
        found |= {model.name: f"recall.{channel.name}" for model in channel.models()}
    if config.funnel.ranker == "bandit":
        found |= {model.name: "the bandit" for model in bandit_models(config)}
    return found | {DecayedFeatures.__name__: "features of what happened"}


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


_FIXED: Final = (
    "topics.partitions",
    "topics.prefix",
    "topics.events",
    "topics.decisions",
    "learner.seed",
    "learner.dedup_window",
    "learner.users_max",
    "learner.items_max",
    "learner.user_sightings_min",
    "learner.item_sightings_min",
    "learner.idle_expiry_s",
    "learner.feature_rows_max",
    "bandit.arms_max",
)
"""Keys without which no store goes on: what came first depends on them for ever."""
_LEARNED_FROM: Final = ("events", "join")
"""Sections that may change from one commit to the next."""
_MODELS_FROM: Final = (
    "learner", "mf", "popularity", "catalogue", "recall", "funnel", "bandit", "objectives",
    "windows", "features",
)  # fmt: skip
"""Sections that models are made from; whether one has changed is said by its settings."""
_NOT_LEARNED: Final = (
    "learner.sync_interval_ms",
    "learner.batch_messages_max",
    "learner.checkpoint_interval_s",
    "learner.checkpoint_rows_max",
    "join.ahead_max_s",
)
"""Keys of these sections that change nothing of what is learned."""


def store_layout(config: Config, models: Sequence[Model]) -> Layout:
    """Return the layout that a store needs for a configuration, of one generation."""
    fixed = values_of(config, ("topics", "learner", "bandit"))
    generation = Generation(
        learner=_learned(values_of(config, _LEARNED_FROM) | _practised_on(config)),
        models={
            model.name: ModelSettings(_settings(model), tuple(model.tables())) for model in models
        },
        config=_learned(values_of(config, _MODELS_FROM)),
    )
    return Layout(
        schema_version=STORE_SCHEMA_VERSION,
        n_partitions=config.topics.partitions,
        tables=tuple(all_specs(models)),
        fixed={key: fixed[key] for key in _FIXED},
        generations=(generation,),
    )


def recorded_config(layout: Layout, generation: int) -> Config:
    """Make the configuration of a generation again, as far as what is learned depends on it.

    Raises
    ------
    LayoutMismatch
        Where it can't be: the store was written by another version of streamer.
    """
    recorded = layout.generations[generation]
    values = recorded.config | recorded.learner | layout.fixed
    try:
        config = config_of(values, origin=f"the store's generation {generation}")
    except ConfigError as error:
        raise _other_version(generation, str(error)) from error
    made = {model.name: model for model in build_models(config)}
    for name, model in recorded.models.items():
        again = made.get(name)
        tables = () if again is None else tuple(again.tables())
        if again is None or _settings(again) != model.settings or tables != model.tables:
            raise _other_version(generation, f"model {name} can't be made as it is recorded")
    return config


def _settings(model: Model) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(model.settings()))
    return plain


def _practised_on(config: Config) -> dict[str, object]:
    """Return what practising brings and measures candidates by, whatever models say of it."""
    sections = {"catalogue", *(f"recall.{name}" for name in measuring_on(config))}
    values = values_of(config, ("catalogue", "recall"))
    return {key: each for key, each in values.items() if key.rpartition(".")[0] in sections}


def _learned(values: Mapping[str, object]) -> dict[str, object]:
    left_out = {*_FIXED, *_NOT_LEARNED}
    return {key: value for key, value in values.items() if key not in left_out}


def _other_version(generation: int, problem: str) -> LayoutMismatch:
    return LayoutMismatch(
        f"the settings of generation {generation} of the store were recorded by another version of"
        f" streamer: {problem}. Run the version that wrote it"
    )
