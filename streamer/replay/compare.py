"""Is one result better than another, or is it chance? A paired bootstrap over users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.errors import ConfigError
from streamer.replay.result import ABSOLUTE, SQUARED, Result, lower_is_better

Values = NDArray[np.float64]
BAGS_MAX = 20_000
"""More users than this are resampled in bags, which says the same and bounds the work."""
_DRAWN_AT_ONCE = 2_000_000


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of two models on the same events.

    Attributes
    ----------
    difference
        ``b - a``, with the interval ``low`` to ``high``.
    """

    metric: str
    name_a: str
    name_b: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    confidence: float
    n_users: int
    n_events: int

    @property
    def verdict(self) -> str:
        """What it means, in one sentence."""
        share = f"{100 * self.confidence:g} %"
        where = (
            f"{self.metric} {self.b:.4f} against {self.a:.4f}, a difference of"
            f" {self.difference:+.4f} ({share} interval {self.low:+.4f} to {self.high:+.4f},"
            f" {self.n_users:,} users)"
        )
        if self.low <= 0 <= self.high:
            return f"No difference between {self.name_b} and {self.name_a} beyond chance: {where}."
        better = (self.difference < 0) == lower_is_better(self.metric)
        return f"{self.name_b} is {'better' if better else 'worse'} than {self.name_a}: {where}."


def metrics_to_compare(result: Result, model: str) -> list[str]:
    """Return the metrics of which a result holds sums by user."""
    named = {SQUARED: "rmse", ABSOLUTE: "mae"}
    return [named.get(name, name) for name in result.users.sums[model]]


def comparable_metrics(a: Result, b: Result, models: tuple[str, str]) -> list[str]:
    """Return the metrics that two models have of the same events."""
    return [
        metric
        for metric in metrics_to_compare(a, models[0])
        if metric in metrics_to_compare(b, models[1])
        and np.array_equal(*_weights(a, b, metric, models))
    ]


def pairs_to_compare(
    a: Result, b: Result, model_a: str | None = None, model_b: str | None = None
) -> list[tuple[str, str]]:
    """Which model of ``a`` to compare with which of ``b``.

    Those named; else the only one of each; else every model that both have.

    Raises
    ------
    ConfigError
        When one isn't there, or nothing says which.
    """
    for model, result in ((model_a, a), (model_b, b)):
        if model is not None and model not in result.metrics:
            raise ConfigError(f"there is no model {model!r}; there are {_listed(result)}")
    of_a = [model_a] if model_a is not None else list(a.metrics)
    of_b = [model_b] if model_b is not None else list(b.metrics)
    if len(of_a) == len(of_b) == 1:
        return [(of_a[0], of_b[0])]
    both = [(name, name) for name in of_a if name in of_b]
    if not both or model_a is not None or model_b is not None:
        raise ConfigError(
            f"A has {_listed(a)}; B has {_listed(b)}; name one of each with --model-a and --model-b"
        )
    return both


def _listed(result: Result) -> str:
    return ", ".join(map(repr, result.metrics))


def check_comparable(a: Result, b: Result) -> None:
    """Refuse results that scored different events.

    Raises
    ------
    ConfigError
        Naming what differs.
    """
    if a.log.digest != b.log.digest:
        raise ConfigError(
            f"A replayed {a.log.name} ({a.log.n_events:,} events, digest {a.log.digest[:12]}), B"
            f" {b.log.name} ({b.log.n_events:,} events, digest {b.log.digest[:12]}): other events"
            " can't be compared; replay one log in both"
        )
    same = (
        a.configuration.task == b.configuration.task
        and a.users.keys == b.users.keys
        and a.users.events_scored == b.users.events_scored
    )
    if not same:
        differing = [
            f"{name} {getattr(a.configuration, name)!r} and {getattr(b.configuration, name)!r}"
            for name in a.configuration.__struct_fields__
            if getattr(a.configuration, name) != getattr(b.configuration, name)
        ]
        raise ConfigError(
            "A and B scored other events of the log: their settings are"
            f" {'; '.join(differing) or 'the same'}; replay both with the same"
        )


def compare(
    a: Result,
    b: Result,
    *,
    metric: str,
    models: tuple[str, str],
    n_resamples: int = 2_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare a metric of two models over the same events.

    Users, not events, are drawn with replacement, as the events of one user are alike; each draw
    takes the user's events in both results, so what is hard for both cancels out. The interval is
    that of the percentiles.

    Parameters
    ----------
    metric
        One of :func:`metrics_to_compare` of both, or ``precision@k``.
    models
        Of ``a`` and of ``b``.
    n_resamples
        Draws of as many users as there are.

    Raises
    ------
    ConfigError
        When they scored different events, one lacks the metric, or they have it of different
        events.
    """
    check_comparable(a, b)
    for result, model in ((a, models[0]), (b, models[1])):
        if _held(metric) not in result.users.sums[model]:
            raise ConfigError(
                f"there are no sums of {metric!r} by user; there are"
                f" {', '.join(metrics_to_compare(result, model))}"
            )
    weights, weights_b = _weights(a, b, metric, models)
    if not np.array_equal(weights, weights_b):
        raise ConfigError(
            f"{metric} of {models[0]} and of {models[1]} can't be compared: they have it of other"
            f" events, or events of other gains (weighing {weights.sum():,g} and"
            f" {weights_b.sum():,g}); compare auc or recalled"
        )
    sums = [a.users.sums_of(models[0], _held(metric)), b.users.sums_of(models[1], _held(metric))]
    columns = np.stack([weights, *sums])
    in_all = _means(columns.sum(axis=1)[:, None], metric)
    drawn = np.diff(_resampled_means(_bagged(columns), metric, n_resamples, seed), axis=0)[0]
    tail = 50 * (1 - confidence)
    low, high = np.nanpercentile(drawn, [tail, 100 - tail])
    return Comparison(
        metric=metric,
        name_a=models[0] if models[0] != models[1] else f"A's {models[0]}",
        name_b=models[1] if models[0] != models[1] else f"B's {models[1]}",
        a=float(in_all[0, 0]),
        b=float(in_all[1, 0]),
        difference=float(in_all[1, 0] - in_all[0, 0]),
        low=float(low),
        high=float(high),
        confidence=confidence,
        n_users=a.users.n_users,
        n_events=int(a.users.counts().sum()),
    )


def _held(metric: str) -> str:
    """Return the name under which a metric's sums are kept."""
    name, _, k = metric.partition("@")
    return {"rmse": SQUARED, "mae": ABSOLUTE, "precision": f"recall@{k}"}.get(name, metric)


def _weights(a: Result, b: Result, metric: str, models: tuple[str, str]) -> tuple[Values, Values]:
    held = _held(metric)
    return a.users.weights_of(models[0], held), b.users.weights_of(models[1], held)


def _means(sums: Values, metric: str) -> Values:
    """``(2, n)`` values of the metric from ``(3, n)`` weights and sums of both; NaN of none."""
    means: Values = np.full(sums[1:].shape, np.nan)
    np.divide(sums[1:], sums[0], out=means, where=sums[0] != 0)
    name, _, k = metric.partition("@")
    if name == "precision":  # with one target an event
        means /= int(k)
    return np.sqrt(means) if name == "rmse" else means


def _bagged(columns: Values) -> Values:
    """The same, users added up in bags where there are very many. Keys are digests, in order, so
    neighbours have nothing in common."""
    if columns.shape[1] <= BAGS_MAX:
        return columns
    bags = np.arange(columns.shape[1]) % BAGS_MAX
    return np.stack([np.bincount(bags, weights=column) for column in columns])


def _resampled_means(columns: Values, metric: str, n_resamples: int, seed: int) -> Values:
    """``(2, n_resamples)`` values of the metric."""
    rng = np.random.default_rng(seed)
    n_users = columns.shape[1]
    n_at_once = max(1, _DRAWN_AT_ONCE // n_users)
    parts = []
    for start in range(0, n_resamples, n_at_once):
        n = min(n_at_once, n_resamples - start)
        drawn = rng.integers(0, n_users, (n, n_users))
        parts.append(_means(columns[:, drawn].sum(axis=2), metric))
    return np.concatenate(parts, axis=1)
