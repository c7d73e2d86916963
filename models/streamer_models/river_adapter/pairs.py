"""Any recommender or regressor of river as a model of (user, item) pairs."""

from __future__ import annotations

import math
from typing import Any

from river import base, reco

from streamer_models.river_adapter.expressions import parse_model, unseeded


class PairModel:
    """What a river model predicts for a user and an item.

    A recommender (``river.reco``) is asked as such; a regressor sees the features ``user`` and
    ``item``, both text.

    Parameters
    ----------
    expression
        As :func:`~streamer_models.river_adapter.expressions.parse_model` reads it.

    Raises
    ------
    ValueError
        Where the expression is no such model, or one that has no seed and would draw other numbers
        in every run.

    Examples
    --------
    >>> model = PairModel("reco.Baseline(optimizer=optim.SGD(0.025), seed=0)")
    >>> for value in (4.0, 5.0, 4.0):
    ...     model.learn(0, 1, value)
    >>> 4 < model.predict(0, 1) < 5
    True
    """

    def __init__(self, expression: str) -> None:
        model = parse_model(expression)
        self._recommends = isinstance(model, reco.base.Ranker)
        if not self._recommends and not isinstance(model, base.Regressor):
            raise ValueError(
                f"{model} is neither a recommender nor a regressor, so it predicts nothing for a"
                " user and an item"
            )
        if unseeded(model):
            raise ValueError(
                f"{', '.join(unseeded(model))} would draw other numbers in every run: give seed=..."
            )
        self._model: Any = model

    def predict(self, user: int, item: int) -> float:
        """The value to expect; 0 where the model has none. Some of river's models take up an
        unknown user or item as they are asked about it."""
        if self._recommends:
            predicted = self._model.predict_one(user=user, item=item)
        else:
            predicted = self._model.predict_one(_features(user, item))
        return 0.0 if predicted is None or math.isnan(predicted) else float(predicted)

    def learn(self, user: int, item: int, value: float) -> None:
        """Learn a value."""
        if self._recommends:
            self._model.learn_one(user=user, item=item, y=value)
        else:
            self._model.learn_one(_features(user, item), value)


def _features(user: int, item: int) -> dict[str, str]:
    return {"user": str(user), "item": str(item)}
