"""What an experiment found, as one JSON object."""

from __future__ import annotations

import math
import platform
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.errors import ConfigError
from streamer.replay.experiment import GROUPS, Outcome
from streamer.replay.log import LogSurvey
from streamer.replay.settings import Settings
from streamer.replay.tally import Cells
from streamer.replay.topk_task import GAIN, GRADED, LOG_LOSS, RECALLED, TopKTask
from streamer_models.evaluation.ranking_metrics import catalogue_coverage, exposure_gini
from streamer_models.state.ids.id_table import id_key

Numbers = dict[str, float | None]
"""Metric → value; None where it says nothing."""

SQUARED, ABSOLUTE = "squared_error", "absolute_error"
_LOWER_IS_BETTER = ("rmse", "mae", "calibration", "gini", LOG_LOSS)
# With one target an event, these say what recall and the reciprocal rank say.
_REDUNDANT = ("hit_rate@", "map@")
_OF_SCORES = (f"{GRADED}@", "auc", LOG_LOSS, RECALLED)
_OF_LISTS = (
    *("precision@", "diversity@", "distance@", "novelty@", "serendipity@", "calibration@", "gini@"),
)


class ScoredPart(msgspec.Struct, frozen=True, kw_only=True):
    """A window of time (with the times of its first and last event) or a group."""

    events_scored: int
    metrics: dict[str, Numbers]
    from_ts: int | None = None
    to_ts: int | None = None


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What became of predictions: parts of the scale, by their middles, and by model how many
    predictions fell into each and the mean of the values then."""

    predicted: list[float]
    counts: dict[str, list[int]]
    actual: dict[str, list[float | None]]


class UserSums(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of metrics by user, by which two results are compared.

    Arrays are little-endian bytes, base64 in JSON, in the order of the keys: 8 B for the key of a
    user's id, 4 B for the events scored, 4 B a metric and a model, and 4 B more for what the sums
    of a metric are divided by, where that is not the events scored.
    """

    n_users: int
    keys: bytes
    events_scored: bytes
    sums: dict[str, dict[str, bytes]]
    weights: dict[str, dict[str, bytes]] = {}

    def counts(self) -> NDArray[np.int64]:
        """``(n_users,)`` events scored of each user."""
        return np.frombuffer(self.events_scored, dtype="<u4").astype(np.int64)

    def sums_of(self, model: str, metric: str) -> NDArray[np.float64]:
        """``(n_users,)`` sums of a metric over a user's events."""
        return np.frombuffer(self.sums[model][metric], dtype="<f4").astype(np.float64)

    def weights_of(self, model: str, metric: str) -> NDArray[np.float64]:
        """``(n_users,)`` what those are divided by: the events that have the metric, or their
        gains."""
        held = self.weights.get(model, {}).get(metric)
        if held is None:
            return self.counts().astype(np.float64)
        return np.frombuffer(held, dtype="<f4").astype(np.float64)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The result of ``streamer replay``.

    Attributes
    ----------
    metrics
        By model: each metric, ``events_scored``, and ``events_per_s`` that the model would manage
        alone on one core: CPU time counts, so other load on the machine changes little.
    standard_errors
        By model and metric, as if events were independent.
    elapsed_s, events_per_s
        Of the replay of all models together. These, and the models' ``events_per_s``, are all that
        differs between two runs.
    """

    format: int = 1
    log: LogSurvey
    configuration: Settings
    seed: int
    versions: dict[str, str]
    events_learned: int
    events_scored: int
    events_first_seen: int
    events_repeated: int
    elapsed_s: float
    events_per_s: float
    metrics: dict[str, Numbers]
    standard_errors: dict[str, Numbers]
    windows: list[ScoredPart]
    groups: dict[str, ScoredPart]
    users: UserSums
    calibration: Calibration | None = None

    def check_scored(self) -> None:
        """Refuse a result that says nothing.

        Raises
        ------
        ConfigError
            When no event was scored, saying why, and what would score some.
        """
        if self.events_scored:
            return
        n_targets = self.log.n_targets
        n_warmup = n_targets - self.events_repeated
        remedies = []
        if self.events_repeated:
            remedies.append("--repeats keep scores what a user consumes again")
        if n_warmup:
            remedies.append("a smaller --warmup leaves more to score")
        not_drawn = ""
        if self.configuration.scored < 1:
            not_drawn = " or not drawn"
            remedies.append("a greater --scored draws more")
        raise ConfigError(
            f"{self.log.name}: no event was scored; of {n_targets:,} that could be, {n_warmup:,}"
            f" were warm-up{not_drawn} and {self.events_repeated:,} repeated what their user had"
            f" consumed before; {', and '.join(remedies)}"
        )


def result_of(outcome: Outcome) -> Result:
    """The result of an experiment."""
    tally = outcome.tally
    metrics: dict[str, Numbers] = {}
    errors: dict[str, Numbers] = {}
    for at, name in enumerate(outcome.names):
        metrics[name], errors[name] = _numbers(outcome, tally.total, at, 0)
        if isinstance(outcome.task, TopKTask):
            n_shown, k = outcome.task.n_shown(at), outcome.settings.k
            gini = exposure_gini(n_shown)
            metrics[name][f"coverage@{k}"] = catalogue_coverage(n_shown)
            metrics[name][f"gini@{k}"] = None if math.isnan(gini) else gini
        metrics[name]["events_scored"] = tally.n_scored
        metrics[name]["events_per_s"] = outcome.n_learned / max(outcome.model_s[at], 1e-9)
    counts = tally.by_window.counts()[0, :, 0].astype(int).tolist()
    windows = [
        ScoredPart(
            events_scored=counts[row],
            metrics=_by_model(outcome, tally.by_window, row),
            from_ts=window.from_ts,
            to_ts=window.to_ts,
        )
        for row, window in enumerate(outcome.windows)
    ]
    groups = {
        name: ScoredPart(
            events_scored=int(tally.group_sizes[row]),
            metrics=_by_model(outcome, tally.by_group, row),
        )
        for row, name in enumerate(GROUPS)
    }
    return Result(
        log=outcome.log,
        configuration=outcome.settings,
        seed=outcome.settings.seed,
        versions={"python": platform.python_version()}
        | {name: version(name) for name in ("streamer", "numpy", "numba")},
        events_learned=outcome.n_learned,
        events_scored=tally.n_scored,
        events_first_seen=outcome.n_first_seen,
        events_repeated=outcome.n_repeated,
        elapsed_s=outcome.elapsed_s,
        events_per_s=outcome.n_learned / max(outcome.elapsed_s, 1e-9),
        metrics=metrics,
        standard_errors=errors,
        windows=windows,
        groups=groups,
        users=_user_sums(outcome),
        calibration=_calibration(outcome),
    )


def _calibration(outcome: Outcome) -> Calibration | None:
    task = outcome.task
    if isinstance(task, TopKTask):
        return None
    of_models = {name: task.calibration(at) for at, name in enumerate(outcome.names)}
    return Calibration(
        predicted=task.bin_middles.tolist(),
        counts={name: counts.astype(int).tolist() for name, (counts, _) in of_models.items()},
        actual={
            name: [None if math.isnan(mean) else mean for mean in means.tolist()]
            for name, (_, means) in of_models.items()
        },
    )


def _by_model(outcome: Outcome, cells: Cells, row: int) -> dict[str, Numbers]:
    return {name: _numbers(outcome, cells, at, row)[0] for at, name in enumerate(outcome.names)}


def _numbers(outcome: Outcome, cells: Cells, model: int, row: int) -> tuple[Numbers, Numbers]:
    """Means and standard errors, by metric; squared and absolute errors under their own names."""
    means: Numbers = {}
    errors: Numbers = {}
    names = outcome.tally.metrics
    graded = isinstance(outcome.task, TopKTask) and outcome.task.graded
    for at, metric in enumerate(names):
        if metric == GAIN or (metric.startswith(GRADED) and not graded):
            continue  # where gains are alike it is the NDCG once more
        mean, error = cells.mean(model, row, at)
        name = {SQUARED: "rmse", ABSOLUTE: "mae"}.get(metric, metric)
        if metric == SQUARED:
            mean = math.sqrt(mean)
            error = error / (2 * mean) if mean else 0.0  # the delta method
        elif metric.startswith(GRADED):
            gain = cells.mean(model, row, names.index(GAIN))[0]
            mean, error = mean / gain if gain else math.nan, math.nan
        means[name] = None if math.isnan(mean) else mean
        errors[name] = None if math.isnan(error) else error
    return means, errors


def _user_sums(outcome: Outcome) -> UserSums:
    tally = outcome.tally
    keys = np.array([id_key(name.encode()) for name in outcome.user_ids], dtype="<u8")
    order = np.argsort(keys, kind="stable")
    all_sums, counts = tally.by_user.sums()[:, order], tally.by_user.counts()[:, order]
    scored = counts[0, :, 0] if len(keys) else np.zeros(0)
    sums: dict[str, dict[str, bytes]] = {name: {} for name in outcome.names}
    weights: dict[str, dict[str, bytes]] = {name: {} for name in outcome.names}
    for at, name in enumerate(outcome.names):
        for metric in outcome.task.user_metrics:
            column = tally.metrics.index(metric)
            divided_by = counts[at, :, column]
            if metric.startswith(GRADED):
                divided_by = all_sums[at, :, tally.metrics.index(GAIN)]
            if not divided_by.any():
                continue  # the model has no such metric
            sums[name][metric] = all_sums[at, :, column].astype("<f4").tobytes()
            if not np.array_equal(divided_by, scored):
                weights[name][metric] = divided_by.astype("<f4").tobytes()
    return UserSums(
        n_users=len(keys),
        keys=keys[order].tobytes(),
        events_scored=scored.astype("<u4").tobytes(),
        sums=sums,
        weights=weights,
    )


def encoded(result: msgspec.Struct) -> bytes:
    """JSON of a result or of a sweep, a field a line."""
    return msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n"


def read_result(path: Path) -> Result:
    """A result from its file.

    Raises
    ------
    ConfigError
        When there is none.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Result)
    except OSError as error:
        raise ConfigError(f"{path} can't be read ({error.strerror})") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no result of streamer replay ({error})") from error


def leading_metric(result: Result) -> str:
    """The metric that tables and charts of a result lead with."""
    return next(iter(next(iter(result.metrics.values()))))


def lower_is_better(metric: str) -> bool:
    """Whether less of a metric is better."""
    return metric.partition("@")[0] in _LOWER_IS_BETTER


class ShownMetrics(NamedTuple):
    """Names of the metrics that each table shows.

    Attributes
    ----------
    of_ranks
        How well what came next was ranked: the first table.
    of_scores
        Gains, and how far the scores themselves were right: those that some model has.
    of_lists
        What lists were like.
    """

    of_ranks: list[str]
    of_scores: list[str]
    of_lists: list[str]


def shown_metrics(result: Result) -> ShownMetrics:
    """Return the metrics that tables show; the others say the same once more."""
    hidden = (*_REDUNDANT, "events_")
    models = list(result.metrics.values())
    shown = [name for name in models[0] if not name.startswith(hidden)]
    of_scores = [name for name in shown if name.startswith(_OF_SCORES)]
    of_lists = [name for name in shown if name.startswith(_OF_LISTS)]
    return ShownMetrics(
        [name for name in shown if name not in (*of_scores, *of_lists)],
        [name for name in of_scores if any(each[name] is not None for each in models)],
        of_lists,
    )


def drawn_over_time(result: Result) -> list[str]:
    """Return the metrics that a report draws over time: the first, and those of scores."""
    lead = leading_metric(result)
    return [lead, *(name for name in shown_metrics(result).of_scores if name != RECALLED)]


def best_first(result: Result) -> list[str]:
    """Names of the models by the metric that tables lead with; equal ones as they were given."""
    lead = leading_metric(result)
    sign = 1 if lower_is_better(lead) else -1

    def place(name: str) -> float:
        value = result.metrics[name][lead]
        return math.inf if value is None else sign * value

    return sorted(result.metrics, key=place)


def event_us(numbers: Numbers) -> str:
    """Microseconds of CPU that a model takes to rank and learn an event, as tables show them."""
    return f"{1e6 / (numbers['events_per_s'] or math.inf):,.0f}"
