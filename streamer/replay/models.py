"""The models an experiment knows by name, and how they are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

from streamer.config import Config, changed
from streamer.config.specs import Spec, duration_ms
from streamer.errors import ConfigError
from streamer.ranking.recall.again import comes_again
from streamer.replay.baselines.factors import BiasedFactors, ImplicitFactors
from streamer.replay.baselines.isgd import ISGD
from streamer.replay.baselines.item_cosine import ItemCosine
from streamer.replay.baselines.popularity import PopularityBaseline
from streamer.replay.baselines.river_model import RiverModel
from streamer.replay.baselines.running_mean import RunningMean
from streamer.replay.channel_alone import ChannelAlone, channel_config
from streamer.replay.funnel_model import FunnelModel, funnel_config, funnel_keys
from streamer.replay.interactions import OnlineModel, RatingModel, TopKModel
from streamer.replay.knobs import Knobs
from streamer.replay.knobs_delivery import Delivered, Synced
from streamer.replay.model_kind import ModelKind
from streamer.replay.nightly.registry import build_nightly
from streamer_models.factorization.biased_mf import BiasedMF
from streamer_models.factorization.mf import ImplicitMF

Task = Literal["topk", "rating"]
_PROTOCOLS: dict[Task, type] = {"topk": TopKModel, "rating": RatingModel}


def _popularity(
    *, seed: int, half_life_events: float | None = None, half_life: int | None = None
) -> PopularityBaseline:
    return PopularityBaseline(half_life_events=half_life_events, half_life_ms=half_life)


def _item_cosine(*, seed: int, **parameters: int) -> ItemCosine:
    return ItemCosine(**parameters)


def _running_mean(*, seed: int, first: float = 0.0) -> RunningMean:
    return RunningMean(first=first)


def _implicit(loss: str, **parameters: Any) -> ImplicitFactors:
    return ImplicitFactors(ImplicitMF(loss=loss, **parameters))


def _biased(**parameters: Any) -> BiasedFactors:
    return BiasedFactors(BiasedMF(**parameters))


_IMPLICIT = {
    "n_factors": int,
    "learning_rate": float,
    "regularization": float,
    "n_negatives": int,
    "recent_share": float,
    "n_recent_items": int,
    "init_scale": float,
}
_BIASED = {
    "n_factors": int,
    "bias_rate": float,
    "factor_rate": float,
    "bias_regularization": float,
    "factor_regularization": float,
    "init_scale": float,
}
_ISGD = {
    "factors": int,
    "steps": int,
    "rate": float,
    "regularization": float,
    "scale": float,
}
MODELS: dict[str, ModelKind[OnlineModel]] = {
    "popularity": ModelKind(_popularity, {"half_life_events": float, "half_life": duration_ms}),
    "item-cosine": ModelKind(_item_cosine, {"items_max": int}),
    "isgd": ModelKind(ISGD, _ISGD),
    "mf-softmax": ModelKind(partial(_implicit, "softmax"), _IMPLICIT),
    "mf-bpr": ModelKind(partial(_implicit, "bpr"), _IMPLICIT),
    "mf-logistic": ModelKind(partial(_implicit, "logistic"), _IMPLICIT),
    "biased-mf": ModelKind(_biased, _BIASED),
    "running-mean": ModelKind(_running_mean, {"first": float}),
}
"""Name → how it is made; all are learned one event at a time, after they were asked about it."""
RIVER = "river"
"""``river:EXPRESSION``: a recommender or regressor of river."""
FUNNEL = "funnel"
"""``funnel:KEY=VALUE``: the live system, some keys of its configuration changed."""
CHANNEL = "channel"
"""``channel:NAME,KEY=VALUE``: one of its recall channels alone."""
NIGHTLY = "nightly"
"""``nightly:NAME,KEY=VALUE``: a model that is trained every so often."""
DEFAULT_MODELS: dict[Task, str] = {
    "topk": FUNNEL,
    "rating": "running-mean,biased-mf",
}
"""What is replayed where nobody says what."""


def build_model(
    spec: Spec,
    *,
    task: Task,
    seed: int,
    config: Config | None = None,
    knobs: Knobs | None = None,
    keys: Mapping[str, str] = MappingProxyType({}),
    k: int = 10,
    served: bool = False,
) -> Any:
    """The model of a spec: a ``TopKModel`` for ``topk``, a ``RatingModel`` for ``rating``.

    Parameters
    ----------
    config, k
        Of a funnel, and the length of its slates.
    knobs
        Where one of them is turned, or the model must be synced, it comes as :class:`Delivered`.
    keys
        Keys of the configuration that are changed, of a funnel or a channel; its own come first.
    served
        Rank what would be served alone.

    Raises
    ------
    ConfigError
        When no model has this name or such a parameter, or it can't do the task.
    """
    knobs = knobs or Knobs()
    entry = MODELS.get(spec.name)
    if entry is None and spec.name not in (RIVER, FUNNEL, CHANNEL, NIGHTLY):
        families = f"{CHANNEL}:NAME", f"{NIGHTLY}:NAME", f"{RIVER}:EXPRESSION"
        known = ", ".join((*MODELS, FUNNEL, *families))
        raise ConfigError(f"model {spec.text!r} is unknown; choose one of {known}")
    try:
        model: Any
        if entry is not None:
            model = entry.make(seed=seed, **spec.parameters(entry.parameters))
        elif spec.name == RIVER:
            model = RiverModel(spec.rest, rates=task == "rating")
        elif spec.name == NIGHTLY:
            model = build_nightly(spec.inner, seed=seed)
        elif spec.name == CHANNEL:
            model = _channel(spec.inner, config or Config(), keys, seed=seed)
        else:
            model = _funnel(spec, config or Config(), knobs, keys, seed=seed, k=k, served=served)
    except ValueError as error:
        raise ConfigError(f"model {spec.text!r} can't be made: {error}") from error
    if not isinstance(model, _PROTOCOLS[task]):
        raise ConfigError(
            f"model {spec.text!r} can't do --task {task}: it has no"
            f" {'ranking' if task == 'topk' else 'prediction of values'}; leave it out"
        )
    if served and spec.name != FUNNEL:
        raise ConfigError(
            f"model {spec.text!r} serves no slates, so --candidates served is not for it; leave it"
            " out"
        )
    if knobs.delays or isinstance(model, Synced):
        return Delivered(model, knobs, seed=seed)
    return model


def _channel(spec: Spec, config: Config, keys: Mapping[str, str], *, seed: int) -> ChannelAlone:
    given = _given(spec, config, keys)
    return ChannelAlone(channel_config(config, spec.name, given, seed=seed), spec.name)


def never_repeating(
    specs: Sequence[Spec], keys: Mapping[str, str], config: Config
) -> Sequence[str]:
    """Return the funnels that recommend nothing that a user has met."""
    funnels = [spec for spec in specs if spec.name == FUNNEL]
    return [
        spec.text
        for spec in funnels
        if comes_again(changed(config, _given(spec, config, keys))) is None
    ]


def funnels_configured(
    specs: Sequence[Spec], keys: Mapping[str, str], config: Config
) -> list[Config]:
    """Return the configuration of each funnel among some models."""
    return [changed(config, _given(spec, config, keys)) for spec in specs if spec.name == FUNNEL]


def _given(spec: Spec, config: Config, keys: Mapping[str, str]) -> dict[str, str]:
    """Keys of the configuration that are changed, a model's own in place of those of all."""
    return {**keys, **spec.parameters(dict.fromkeys(funnel_keys(config), str))}


def _funnel(
    spec: Spec,
    config: Config,
    knobs: Knobs,
    keys: Mapping[str, str],
    *,
    seed: int,
    k: int,
    served: bool,
) -> FunnelModel:
    given = _given(spec, config, keys)
    return FunnelModel(
        funnel_config(config, given, seed=seed, n_partitions=knobs.partitions),
        k=k,
        served=served,
        crash_every=knobs.crash_every,
    )
