"""The result of an off-policy evaluation: as JSON, and as a table."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from rich.markup import escape
from rich.table import Table

from streamer.ope.bandit_log import BanditLog, Survey
from streamer.ope.evaluation import LOGGED, Evaluation, OpeSettings
from streamer_models.evaluation.ope import Estimate

WEIGHT_TOLERANCE = 0.1
"""How far the mean weight may lie from 1 before the log is said to lack support."""
POSITIONS_SHOWN = 4
"""The table has no rows for more positions than that; the JSON has them all."""
_LARGE = 1e9
"""Values of more digits before the point are shown in three significant ones."""


@dataclass(frozen=True, slots=True)
class OpeResult:
    """One evaluation with all that it depends on."""

    log: BanditLog
    survey: Survey
    policy: str
    settings: OpeSettings
    evaluation: Evaluation

    @property
    def log_name(self) -> str:
        """Name of the log's first file."""
        return self.log.files[0].path.name

    def leading_estimator(self) -> str:
        """The one that is shown where one is: self-normalised weights where they were asked for."""
        names = list(self.evaluation.metrics)
        return "snips" if "snips" in names else names[0]

    def as_json(self, digest: str | None = None) -> dict[str, Any]:
        """A JSON object; the same for the same log, policy and settings. NaN and inf are null.

        Parameters
        ----------
        digest
            Of the log, where it is known; it is read for it otherwise.
        """
        survey, evaluation, settings = self.survey, self.evaluation, self.settings
        metrics = {name: _fields(each) for name, each in evaluation.metrics.items()}
        if "replay" in metrics:
            metrics["replay"]["matched_share"] = evaluation.matched_share
        return {
            "kind": "ope",
            "log": str(self.log.files[0]),
            "log_digest": digest or self.log.digest(),
            "format": self.log.format,
            "policy": self.policy,
            "policy_parameters": dict(evaluation.policy_parameters),
            "n": len(survey),
            "n_requests": evaluation.logged.n_requests,
            "n_actions": len(survey.actions),
            "n_malformed": survey.n_malformed,
            "malformed": [str(each) for each in survey.malformed],
            "logged": _fields(evaluation.logged),
            "mean_weight": _number(evaluation.mean_weight),
            "metrics": metrics,
            "positions": {
                position: {name: _fields(each) for name, each in found.items()}
                for position, found in evaluation.by_position.items()
            },
            "objectives": {
                objective: {name: _fields(each) for name, each in found.items()}
                for objective, found in evaluation.by_objective.items()
            },
            "seed": settings.seed,
            "settings": {
                "estimators": list(settings.estimators),
                "interval": asdict(settings.interval),
                "clip": _number(settings.clip),
                "switch": _number(settings.switch),
                "matches": settings.matches,
                "folds": settings.n_folds,
            },
            "versions": {
                "streamer": version("streamer"),
                "numpy": version("numpy"),
                "python": platform.python_version(),
            },
        }

    def table(self) -> Table:
        """A row an estimator, and one an estimator and position."""
        interval = self.settings.interval
        table = Table(
            title=f"{escape(self.policy)} on {escape(self.log_name)}",
            caption=f"intervals: {100 * interval.level:g} %, {interval.method}",
        )
        table.add_column("estimator")
        if self._shown():
            table.add_column("position", justify="right")
        for name in ("value", "low", "high", "eff. rows", "clipped"):
            table.add_column(name, justify="right")
        for name, position, estimate in self._rows():
            where = [position] if self._shown() else []
            table.add_row(name, *where, *estimate_cells(estimate), style="dim" if position else "")
        return table

    def size(self) -> str:
        """Rows, items, requests and malformed lines of the log."""
        survey = self.survey
        return (
            f"{len(survey):,} rows of {len(survey.actions):,} items in"
            f" {self.evaluation.logged.n_requests:,} requests, {survey.n_malformed:,} malformed"
            " lines"
        )

    def notes(self, *, all_positions: bool = False) -> Iterator[str]:
        """What a reader should know beside the numbers.

        Parameters
        ----------
        all_positions
            Whether the values of all positions are shown beside it.
        """
        evaluation = self.evaluation
        yield from self.log.remarks()
        yield from evaluation.policy_remarks
        if evaluation.matched_share is not None:
            yield f"replay matched {100 * evaluation.matched_share:.2f} % of the rows it read"
        if evaluation.by_position and not (all_positions or self._shown()):
            yield f"values at each of {len(evaluation.by_position)} positions: see --json"
        mean = evaluation.mean_weight
        if mean is not None and abs(mean - 1) > WEIGHT_TOLERANCE:
            yield (
                f"the mean weight is {mean:.3g}, not about 1: the log lacks what the policy would"
                " show, or holds too few rows of it; trust none of the weighed values alone"
            )

        certain = [name for name, each in evaluation.metrics.items() if each.standard_error == 0]
        if certain:
            yield (
                f"{', '.join(certain)}: all rows that count earned the same, so the interval is"
                " empty and says nothing; more rewards are needed"
            )

    def _shown(self) -> dict[str, dict[str, Estimate]]:
        by_position = self.evaluation.by_position
        return by_position if len(by_position) <= POSITIONS_SHOWN else {}

    def _rows(self) -> Iterator[tuple[str, str, Estimate]]:
        yield "(logged)", "", self.evaluation.logged
        for name, estimate in self.evaluation.metrics.items():
            yield name, "", estimate
            for position, found in self._shown().items():
                yield name, position, found[name]
        for objective, found in self.evaluation.by_objective.items():
            for name, estimate in found.items():
                of = f"({name})" if name == LOGGED else name
                yield f"{of} of {objective}", "", estimate


def estimate_cells(estimate: Estimate) -> tuple[str, ...]:
    """Return value, low, high, effective rows and share clipped, as tables show them."""
    return (
        *(_cell(each) for each in (estimate.value, estimate.low, estimate.high)),
        f"{estimate.effective_sample_size:,.0f}",
        f"{100 * estimate.clipped_share:.2f} %",
    )


def _cell(value: float) -> str:
    """A number of a table; one row of a tiny propensity makes a value of a hundred digits."""
    return f"{value:.6f}" if not abs(value) >= _LARGE else f"{value:.3g}"


def _fields(estimate: Estimate) -> dict[str, Any]:
    return {
        "value": _number(estimate.value),
        "interval": [_number(estimate.low), _number(estimate.high)],
        "standard_error": _number(estimate.standard_error),
        "n": estimate.n,
        "n_requests": estimate.n_requests,
        "effective_sample_size": _number(estimate.effective_sample_size),
        "clipped_share": estimate.clipped_share,
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
