"""The models an experiment knows by name, and how they are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from models.biased_mf import BiasedMF
from models.mf import ImplicitMF
from streamer.errors import ConfigError
from streamer.replay.baselines.factors import BiasedFactors, ImplicitFactors
from streamer.replay.baselines.isgd import ISGD
from streamer.replay.baselines.item_cosine import ItemCosine
from streamer.replay.baselines.popularity import Popularity
from streamer.replay.baselines.river_model import RiverModel
from streamer.replay.baselines.running_mean import RunningMean
from streamer.replay.interactions import Learner, RatingModel, TopKModel
from streamer.replay.specs import Spec, duration_ms

Task = Literal["topk", "rating"]
_PROTOCOLS: dict[Task, type] = {"topk": TopKModel, "rating": RatingModel}


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of model.

    Attributes
    ----------
    make
        Called with the parameters and ``seed``.
    parameters
        Name → how its text becomes a value.
    """

    make: Callable[..., Learner]
    parameters: Mapping[str, Callable[[str], Any]]


def _popularity(
    *, seed: int, half_life_events: float | None = None, half_life: int | None = None
) -> Popularity:
    return Popularity(half_life_events=half_life_events, half_life_ms=half_life)


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
MODELS: dict[str, Entry] = {
    "popularity": Entry(_popularity, {"half_life_events": float, "half_life": duration_ms}),
    "item-cosine": Entry(_item_cosine, {"items_max": int}),
    "isgd": Entry(ISGD, _ISGD),
    "mf-softmax": Entry(partial(_implicit, "softmax"), _IMPLICIT),
    "mf-bpr": Entry(partial(_implicit, "bpr"), _IMPLICIT),
    "mf-logistic": Entry(partial(_implicit, "logistic"), _IMPLICIT),
    "biased-mf": Entry(_biased, _BIASED),
    "running-mean": Entry(_running_mean, {"first": float}),
}
"""Name → how it is made; all are learned one event at a time, after they were asked about it."""
RIVER = "river"
"""``river:EXPRESSION``: a recommender or regressor of river."""
DEFAULT_MODELS: dict[Task, str] = {
    "topk": "popularity,mf-softmax",
    "rating": "running-mean,biased-mf",
}
"""What is replayed where nobody says what."""


def build_model(spec: Spec, *, task: Task, seed: int) -> Any:
    """The model of a spec: a ``TopKModel`` for ``topk``, a ``RatingModel`` for ``rating``.

    Raises
    ------
    ConfigError
        When no model has this name or such a parameter, or it can't do the task.
    """
    entry = MODELS.get(spec.name)
    if entry is None and spec.name != RIVER:
        known = ", ".join((*MODELS, f"{RIVER}:EXPRESSION"))
        raise ConfigError(f"model {spec.text!r} is unknown; choose one of {known}")
    try:
        model = (
            RiverModel(spec.rest, rates=task == "rating")
            if entry is None
            else entry.make(seed=seed, **spec.parameters(entry.parameters))
        )
    except ValueError as error:
        raise ConfigError(f"model {spec.text!r} can't be made: {error}") from error
    if not isinstance(model, _PROTOCOLS[task]):
        raise ConfigError(
            f"model {spec.text!r} can't do --task {task}: it has no"
            f" {'ranking' if task == 'topk' else 'prediction of values'}; leave it out"
        )
    return model
