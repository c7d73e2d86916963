"""Sums of metrics: in all, by window, by group and by user; for all models of an experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.evaluation.ranking_metrics import mean_and_error

Values = NDArray[np.float64]

BLOCK_EVENTS = 256
"""Events that are scored before their values are added up; processes take turns at them."""


class Cells:
    """Counts, sums and sums of squares of metrics by row, of any number of rows.

    Parameters
    ----------
    n_models, n_metrics
        Of each row.
    """

    def __init__(self, n_models: int, n_metrics: int, *, n_rows: int = 0) -> None:
        self._moments: Values = np.zeros((3, n_models, n_rows, n_metrics))
        self.n_rows = n_rows

    def add(self, rows: NDArray[np.int64], values: Values) -> None:
        """Add ``(n_models, n, n_metrics)`` values to ``(n,)`` rows; NaN is no value."""
        self.n_rows = max(self.n_rows, int(rows.max(initial=-1)) + 1)
        n_held = self._moments.shape[2]
        if self.n_rows > n_held:
            n_models, n_metrics = self._moments.shape[1], self._moments.shape[3]
            longer = np.zeros((3, n_models, max(self.n_rows, 2 * n_held), n_metrics))
            longer[:, :, :n_held] = self._moments
            self._moments = longer
        _add(self._moments, rows, values)

    def counts(self) -> Values:
        """``(n_models, n_rows, n_metrics)`` values there were."""
        return self._moments[0, :, : self.n_rows]

    def sums(self) -> Values:
        """``(n_models, n_rows, n_metrics)``."""
        return self._moments[1, :, : self.n_rows]

    def mean(self, model: int, row: int, metric: int) -> tuple[float, float]:
        """Mean and standard error; NaN where there are too few values."""
        n, total, squares = self._moments[:, model, row, metric]
        return mean_and_error(float(total), float(squares), int(n))


@numba.njit(cache=True, nogil=True)
def _add(moments: Values, rows: NDArray[np.int64], values: Values) -> None:
    n_models, n, n_metrics = values.shape
    for model in range(n_models):
        for i in range(n):
            for metric in range(n_metrics):
                value = values[model, i, metric]
                if not np.isnan(value):
                    moments[0, model, rows[i], metric] += 1.0
                    moments[1, model, rows[i], metric] += value
                    moments[2, model, rows[i], metric] += value * value


@dataclass(frozen=True, slots=True)
class Scored:
    """Events that were scored, in columns of length n.

    Attributes
    ----------
    values
        ``(n_models, n, n_metrics)``; NaN where a metric says nothing.
    user_rows
        Rows in the table of all who were scored.
    windows
        Window of each event.
    groups
        Name → whether each event belongs to the group.
    """

    values: Values
    user_rows: NDArray[np.int64]
    windows: NDArray[np.int64]
    groups: Mapping[str, NDArray[np.bool_]]


class Tally:
    """Takes in what was scored, block by block.

    Parameters
    ----------
    n_models
        How many models.
    metrics
        Names of the metrics, in the order of the values.
    groups
        Names of the groups.
    """

    def __init__(self, n_models: int, metrics: Sequence[str], groups: Sequence[str]) -> None:
        self.metrics = tuple(metrics)
        self.groups = tuple(groups)
        shape = n_models, len(metrics)
        self.total = Cells(*shape, n_rows=1)
        self.by_window = Cells(*shape)
        self.by_group = Cells(*shape, n_rows=len(groups))
        self.by_user = Cells(*shape)
        self.group_sizes = np.zeros(len(groups), dtype=np.int64)
        self.n_scored = 0

    def add(self, scored: Scored) -> None:
        """Add a block."""
        n = len(scored.user_rows)
        self.n_scored += n
        self.total.add(np.zeros(n, dtype=np.int64), scored.values)
        self.by_window.add(scored.windows, scored.values)
        self.by_user.add(scored.user_rows, scored.values)
        for row, name in enumerate(self.groups):
            inside = np.flatnonzero(scored.groups[name])
            self.group_sizes[row] += len(inside)
            self.by_group.add(np.full(len(inside), row), scored.values[:, inside])
