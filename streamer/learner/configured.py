"""What a configuration says to a learner."""

from __future__ import annotations

from streamer.config import Config, JoinConfig
from streamer.learner.join.join import JoinSettings
from streamer.learner.rewards import Rewards
from streamer.learner.settings import LearnerSettings
from streamer.model_set import bounds
from streamer.ranking.columns import feature_names
from streamer.ranking.recall.blend import blend_of
from streamer.ranking.recall.registry import channels_on


def learner_settings(
    config: Config, *, generation: int = 0, entities: tuple[str, ...] = ()
) -> LearnerSettings:
    """Return the settings of a learner, or of a verification of what it did.

    Parameters
    ----------
    generation, entities
        What the store says of them.
    """
    learner = config.learner
    return LearnerSettings(
        topic=config.topics.topic("events"),
        event_types=config.event_types,
        n_partitions=config.topics.partitions,
        bounds=bounds(config),
        dedup_window=learner.dedup_window,
        idle_expiry_ms=int(1000 * learner.idle_expiry_s),
        checkpoint_interval_s=learner.checkpoint_interval_s,
        checkpoint_rows_max=learner.checkpoint_rows_max,
        log_bytes_max=config.store.log_bytes_max,
        commit_deadline_s=config.kafka.request_timeout_s,
        join=join_settings(config),
        users=config.topics.topic("users"),
        generation=generation,
        entities=entities,
    )


def join_settings(config: Config) -> JoinSettings:
    """How feedback finds its decision, as configured."""
    blend = blend_of(channels_on(config))
    return join_settings_of(
        config.join,
        topic=config.topics.topic("decisions"),
        feature_names=feature_names(config),
        slate_names=() if blend is None else blend.slate_names,
        objectives=tuple(config.objectives),
        propensity_weight_max=config.bandit.propensity_weight_max,
    )


def join_settings_of(
    join: JoinConfig,
    *,
    topic: str,
    feature_names: tuple[str, ...],
    slate_names: tuple[str, ...] = (),
    objectives: tuple[str, ...] = (),
    propensity_weight_max: float = 1.0,
) -> JoinSettings:
    """How feedback finds its decision, by one section of a configuration."""
    return JoinSettings(
        topic=topic,
        feature_names=feature_names,
        slate_names=slate_names,
        objectives=objectives,
        propensity_weight_max=propensity_weight_max,
        window_ms=round(1000 * join.window_s),
        horizon_ms=round(1000 * join.horizon_s),
        lateness_ms=round(1000 * join.lateness_s),
        default_reward=join.default_reward,
        combine=join.combine,
        match_without_request=join.match_without_request,
        decisions_max=join.decisions_max,
        feedback_max=join.feedback_max,
        ahead_max_ms=round(1000 * join.ahead_max_s),
        unanswered=join.unanswered == "counts",
    )


def reward_function(config: Config) -> Rewards:
    """Return the rewards of events, as configured."""
    return Rewards(config.events, config.objectives)
