"""How well the rewards of the last slates were predicted: by their size, and over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.learner.join.counts import CALIBRATION_EDGES
from streamer.page.asking import at
from streamer_models.evaluation.drift import log_losses

_PARTS: Final = 5
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Predicted:
    """Rewards of some items shown, predicted and observed.

    Attributes
    ----------
    expected, observed
        Mean rewards.
    log_loss
        Mean of the log losses, in nats: a reward above 0 counts as a click.
    """

    name: str
    n_items: int
    expected: float
    observed: float
    log_loss: float


@dataclass(frozen=True, slots=True)
class Predictions:
    """Calibration and drift of the last slates.

    Attributes
    ----------
    whole
        All items together; None: of no item the reward was predicted.
    by_size
        By bins of the expected reward, those of ``streamer_learner_calibration_expected``.
    by_time
        By parts of the time that hold equally many items, the oldest first.
    """

    whole: Predicted | None = None
    by_size: Sequence[Predicted] = ()
    by_time: Sequence[Predicted] = ()

    @property
    def ratio(self) -> float:
        """Reward observed, over that expected; NaN where none was."""
        if self.whole is None or self.whole.expected <= 0:
            return float("nan")
        return self.whole.observed / self.whole.expected

    @property
    def losses(self) -> tuple[float, float]:
        """Log loss of the last part, and of all before it; NaN without two parts."""
        if len(self.by_time) < 2:
            return float("nan"), float("nan")
        *before, last = self.by_time
        n_items = sum(each.n_items for each in before)
        return last.log_loss, sum(each.n_items * each.log_loss for each in before) / n_items


def predictions(ts_ms: Sequence[int], expected: Floats, observed: Floats) -> Predictions:
    """Sum up what was predicted of items shown, in the order of their times.

    Parameters
    ----------
    ts_ms, expected, observed
        ``(n,)`` each: time of the decision, reward that the policy expected, reward that came.
    """
    if not len(expected):
        return Predictions()
    losses = log_losses(expected, observed)

    def of(name: str, chosen: NDArray[np.int64]) -> Predicted:
        return Predicted(
            name,
            len(chosen),
            float(expected[chosen].mean()),
            float(observed[chosen].mean()),
            float(losses[chosen].mean()),
        )

    bins = np.searchsorted(CALIBRATION_EDGES, expected, side="right")
    parts = [each for each in np.array_split(np.arange(len(expected)), _PARTS) if len(each)]
    return Predictions(
        whole=of("all", np.arange(len(expected))),
        by_size=[of(_size(each), np.flatnonzero(bins == each)) for each in np.unique(bins)],
        by_time=[of(at(ts_ms[part[0]]), part) for part in parts],
    )


def _size(bin_of: int) -> str:
    """Name a bin of expected rewards."""
    if bin_of == len(CALIBRATION_EDGES):
        return f"{CALIBRATION_EDGES[-1]:g} and more"
    below = f"{CALIBRATION_EDGES[bin_of]:g}"
    return f"{CALIBRATION_EDGES[bin_of - 1]:g} to {below}" if bin_of else f"below {below}"
