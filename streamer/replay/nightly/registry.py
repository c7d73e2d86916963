"""The nightly models an experiment knows by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

from streamer.config.specs import Spec, duration_ms
from streamer.errors import ConfigError
from streamer.replay.model_kind import ModelKind
from streamer.replay.nightly.ease import Ease
from streamer.replay.nightly.implicit_models import ImplicitALS, ImplicitBPR
from streamer.replay.nightly.schedule import HistoriesOf, Nightly, Trained

_DAY_MS: Final = 86_400_000


def _ease(*, seed: int, **parameters: Any) -> Ease:
    return Ease(**parameters)  # solved, not sampled


NIGHTLY: Final[Mapping[str, ModelKind[Trained]]] = {
    "ease": ModelKind(_ease, {"regularization": float, "items_max": int}),
    "als": ModelKind(
        ImplicitALS, {"factors": int, "regularization": float, "alpha": float, "iterations": int}
    ),
    "bpr": ModelKind(
        ImplicitBPR,
        {"factors": int, "learning_rate": float, "regularization": float, "iterations": int},
    ),
}
"""Name → how it is made."""


def _histories(text: str) -> HistoriesOf:
    for each in get_args(HistoriesOf):
        if each == text:
            found: HistoriesOf = each
            return found
    raise ValueError(f"it is one of {', '.join(get_args(HistoriesOf))}")


def build_nightly(spec: Spec, *, seed: int) -> Nightly:
    """The model of ``NAME,every=1d,histories=now,KEY=VALUE``.

    Raises
    ------
    ConfigError
        When there is no such model or parameter.
    """
    kind = NIGHTLY.get(spec.name)
    if kind is None:
        raise ConfigError(f"model {spec.text!r} is unknown; nightly ones are {', '.join(NIGHTLY)}")
    schedule = {"every": duration_ms, "histories": _histories}
    given = spec.parameters({**schedule, **kind.parameters})
    every_ms, histories = given.pop("every", _DAY_MS), given.pop("histories", None)
    model = kind.make(seed=seed, **given)
    if histories is None:
        histories = "now" if model.folds_in else "trained"
    return Nightly(spec.text, model, every_ms=every_ms, histories=histories)
