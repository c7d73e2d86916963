"""Predict, then learn: the error of predicted values."""

from __future__ import annotations

from collections.abc import Sequence
from time import process_time

import numpy as np
from numpy.typing import NDArray

from streamer.errors import LearningError
from streamer.events import Event
from streamer.replay.interactions import RatingModel

Values = NDArray[np.float64]
N_BINS = 18
"""Of predictions, for their calibration: quarters of a star from 0.5 to 5."""


class RatingTask:
    """Scores predictions, clipped to the scale.

    Parameters
    ----------
    models
        In the order of ``names``.
    scale
        Lowest and highest value there is.
    """

    metrics = ("squared_error", "absolute_error")
    user_metrics = metrics

    def __init__(
        self, names: Sequence[str], models: Sequence[RatingModel], scale: tuple[float, float]
    ) -> None:
        self._names = names
        self._models = models
        self._scale = scale
        self._predicted: list[list[float]] = []
        self._actual: list[float] = []
        self._bins: Values = np.zeros((len(models), N_BINS, 2))
        self.seconds = [0.0] * len(models)

    def score(self, event: Event, user_row: int, item_row: int, number: int) -> bool:
        """Have all models predict the value of an event, which has one."""
        assert event.value is not None
        low, high = self._scale
        clipped = []
        for at, model in enumerate(self._models):
            start_s = process_time()
            predicted = model.predict(user_row, item_row)
            self.seconds[at] += process_time() - start_s
            if predicted != predicted:
                raise LearningError(f"model {self._names[at]!r} predicts NaN; lower its rates")
            clipped.append(min(max(predicted, low), high))
        self._predicted.append(clipped)
        self._actual.append(event.value)
        return True

    def learned(self, event: Event, user_row: int, item_row: int) -> None:
        """Nothing has to be remembered."""

    def take_values(self) -> Values:
        """``(n_models, n, 2)`` errors since the last call."""
        predicted = np.array(self._predicted, dtype=np.float64).T
        actual = np.array(self._actual, dtype=np.float64)
        self._predicted.clear()
        self._actual.clear()
        low, high = self._scale
        places = (predicted - low) / (high - low or 1.0) * N_BINS
        bins = np.minimum(places.astype(np.int64), N_BINS - 1)
        for at, of_model in enumerate(bins):
            np.add.at(self._bins[at], of_model, np.stack([np.ones_like(actual), actual], axis=1))
        errors = predicted - actual
        return np.stack([errors * errors, np.abs(errors)], axis=2)

    def calibration(self, model: int) -> tuple[Values, Values]:
        """``(N_BINS,)`` predictions in each of as many equal parts of the scale, and the mean of
        the values there; NaN where nothing was predicted."""
        counts, sums = self._bins[model].T
        return counts, np.divide(sums, counts, out=np.full(N_BINS, np.nan), where=counts > 0)

    @property
    def bin_middles(self) -> Values:
        """``(N_BINS,)`` what a prediction in each of these parts says, about."""
        low, high = self._scale
        return low + (high - low) * (np.arange(N_BINS) + 0.5) / N_BINS
