"""One policy under several values of a setting, on one log: what each objective gains and loses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from streamer.config import Config, changed
from streamer.config.specs import swept_values
from streamer.errors import ConfigError
from streamer.ope.bandit_log import BanditLog, Survey
from streamer.ope.decision_log import DecisionLog
from streamer.ope.evaluation import LOGGED
from streamer.ope.result import OpeResult
from streamer_models.evaluation.ope import Estimate

SWEPT = ("objectives", "bandit")
"""Sections that a policy on a log of decisions is made from."""


@dataclass(frozen=True, slots=True)
class OpeSweep:
    """The result of ``streamer ope --sweep``.

    Attributes
    ----------
    key
        Of the configuration.
    runs
        Its values as they were written, and what came of each.
    """

    key: str
    runs: Sequence[tuple[str, OpeResult]]

    def as_json(self) -> dict[str, Any]:
        """A JSON object: the results of all values."""
        digest = self.runs[0][1].log.digest()
        results = [{"value": value, "result": run.as_json(digest)} for value, run in self.runs]
        return {"kind": "ope_sweep", "key": self.key, "runs": results}

    def heads(self) -> list[str]:
        """Columns of the table."""
        objectives = self.runs[0][1].evaluation.by_objective
        return [self.key.rpartition(".")[2], *objectives, "weighed sum", "eff. rows"]

    def rows(self) -> Iterator[list[str]]:
        """What the log brought of each objective, then a row a value: what the policy would have.

        The last cells are the weighed sum and the effective rows.
        """
        logged, name = self.runs[0][1].evaluation, self.estimator()
        of_log = [_cell(each[LOGGED]) for each in logged.by_objective.values()]
        yield ["(logged)", *of_log, _cell(logged.logged), ""]
        for value, run in self.runs:
            score = run.evaluation.metrics[name]
            cells = [_cell(each[name]) for each in run.evaluation.by_objective.values()]
            yield [value, *cells, _cell(score), f"{score.effective_sample_size:,.0f}"]

    def table(self) -> Table:
        """The table for the terminal."""
        first = self.runs[0][1]
        interval = first.settings.interval
        table = Table(
            *(escape(each) for each in self.heads()),
            title=f"{self.key}: {escape(first.policy)} on {escape(first.log_name)}, by"
            f" {self.estimator()}",
            caption=f"± half an interval of {100 * interval.level:g} %, {interval.method}",
        )
        for column in table.columns[1:]:
            column.justify = "right"
        for row in self.rows():
            table.add_row(*(escape(each) for each in row))
        return table

    def estimator(self) -> str:
        """The one that is shown."""
        return self.runs[0][1].leading_estimator()


def swept_configs(text: str, config: Config) -> tuple[str, list[tuple[str, Config]]]:
    """The key of ``KEY=VALUE,VALUE``, and each value with the configuration it stands for.

    Raises
    ------
    ConfigError
        When the key is of no section of ``SWEPT``, a value is none of it, or there are fewer than
        two.

    Examples
    --------
    >>> key, runs = swept_configs("bandit.alpha=0.1,1", Config())
    >>> key, [(text, config.bandit.alpha) for text, config in runs]
    ('bandit.alpha', [('0.1', 0.1), ('1', 1.0)])
    """
    key = text.partition("=")[0].strip()
    if key.partition(".")[0] not in SWEPT:
        raise ConfigError(
            f"--sweep {text!r}: give a key of {' or '.join(f'[{each}]' for each in SWEPT)}, which a"
            " policy is made from"
        )
    runs = swept_values(text)
    return key, [(each, changed(config, {key: each}, origin="--sweep")) for each in runs]


def surveyed(
    configs: Sequence[Config], read: Callable[[Config], tuple[BanditLog, Survey]]
) -> Iterator[tuple[BanditLog, Survey]]:
    """Yield the log and its survey under each configuration, read and joined once where it can be.

    Parameters
    ----------
    read
        Opens the log under a configuration and surveys it.
    """
    first, (log, survey) = configs[0], read(configs[0])
    yield log, survey
    for config in configs[1:]:
        if isinstance(log, DecisionLog) and _read_by(config) == _read_by(first):
            weights = {name: each.weight for name, each in config.objectives.items()}
            yield log.weighed(weights, survey)
        else:
            yield read(config)


def _read_by(config: Config) -> tuple[object, ...]:
    """Return what decides which events answer which rows, and what they bring."""
    brought_by = [(name, each.events) for name, each in config.objectives.items()]
    return config.events, brought_by, config.join, config.learner.dedup_window


def _cell(estimate: Estimate) -> str:
    return f"{estimate.value:.4f} ± {(estimate.high - estimate.low) / 2:.4f}"
