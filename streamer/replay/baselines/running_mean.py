"""The mean of all values so far: what a predictor of values has to beat."""

from __future__ import annotations

from streamer.replay.interactions import Interaction


class RunningMean:
    """Predicts the mean of all values learned, whoever rates what.

    Parameters
    ----------
    first
        Predicted before the first value.
    """

    def __init__(self, *, first: float = 0.0) -> None:
        self._mean = first
        self._n = 0

    def predict(self, user_row: int, item_row: int) -> float:
        return self._mean

    def learn(self, interaction: Interaction) -> None:
        """Take a value into the mean; an event without one teaches nothing."""
        value = interaction.event.value
        if value is not None:
            self._n += 1
            self._mean += (value - self._mean) / self._n
