"""A model of river, written as an expression, to compare with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.errors import ConfigError
from streamer.replay.interactions import Interaction


class RiverModel:
    """Ranks by, or gives, what a river model predicts: a Python call for every item, so slow.

    Parameters
    ----------
    expression
        Of :class:`streamer_models.river_adapter.pairs.PairModel`.
    rates
        Whether it learns events' values, or rewards.

    Raises
    ------
    ConfigError
        When river is not installed.
    ValueError
        When the expression is no model that predicts something for a user and an item.
    """

    def __init__(self, expression: str, *, rates: bool) -> None:
        try:
            from streamer_models.river_adapter.pairs import PairModel
        except ImportError as error:
            raise ConfigError(str(error)) from error
        self._model = PairModel(expression)
        self._rates = rates

    def score(self, user_row: int, ts_ms: int, n_items: int) -> NDArray[np.float64]:
        """The predictions for all items."""
        predict = self._model.predict
        return np.array([predict(user_row, item) for item in range(n_items)], dtype=np.float64)

    def predict(self, user_row: int, item_row: int) -> float:
        """The prediction for one item."""
        return self._model.predict(user_row, item_row)

    def learn(self, interaction: Interaction) -> None:
        """Learn one event; one without a value teaches nothing where values are learned."""
        value = interaction.event.value if self._rates else interaction.reward
        if value is not None:
            self._model.learn(interaction.user_row, interaction.item_row, value)
