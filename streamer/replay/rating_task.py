"""Predict, then learn: the error of predicted values."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from streamer.errors import LearningError
from streamer.events import Event
from streamer.replay.interactions import RatingModel

Values = NDArray[np.float64]


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
        self._errors: list[list[float]] = []
        self.seconds = [0.0] * len(models)

    def score(self, event: Event, user_row: int, item_row: int, number: int) -> bool:
        """Have all models predict the value of an event, which has one."""
        assert event.value is not None
        low, high = self._scale
        errors = []
        for at, model in enumerate(self._models):
            start_s = perf_counter()
            predicted = model.predict(user_row, item_row)
            self.seconds[at] += perf_counter() - start_s
            if predicted != predicted:
                raise LearningError(f"model {self._names[at]!r} predicts NaN; lower its rates")
            errors.append(min(max(predicted, low), high) - event.value)
        self._errors.append(errors)
        return True

    def learned(self, event: Event, user_row: int, item_row: int) -> None:
        """Nothing has to be remembered."""

    def take_values(self) -> Values:
        """``(n_models, n, 2)`` errors since the last call."""
        errors = np.array(self._errors, dtype=np.float64).T
        self._errors.clear()
        return np.stack([errors * errors, np.abs(errors)], axis=2)
