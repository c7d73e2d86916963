"""What a policy to evaluate is, and those that learn nothing on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np

from streamer.ope.bandit_log import Floats, LoggedRow, Survey
from streamer.ope.decision_log import LoggedSlates
from streamer_models.bandits.slates import draw_best


class EvaluationPolicy(Protocol):
    """What would have chosen in place of the logging policy."""

    needs_features: bool

    @property
    def parameters(self) -> Mapping[str, object]:
        """Settings in effect, for the result."""

    def probabilities(self, row: LoggedRow) -> Floats:
        """``(c,)`` of the row's candidates; what they leave to 1 went to none of them."""

    def learn(self, row: LoggedRow, *, drawn: bool = False) -> None:
        """Take in the outcome of the logged choice; ``drawn``: this policy has just drawn it too,
        so it is its own."""

    def remarks(self) -> Iterator[str]:
        """Return what a reader should know of it once it was asked, in sentences."""


class Unchanging:
    """What policies have in common that are the same from the first row to the last."""

    needs_features = False
    parameters: Mapping[str, object] = MappingProxyType({})

    def learn(self, row: LoggedRow, *, drawn: bool = False) -> None:
        """Nothing."""

    def remarks(self) -> Iterator[str]:
        """Nothing."""
        return iter(())


class UniformPolicy(Unchanging):
    """Every candidate alike."""

    def probabilities(self, row: LoggedRow) -> Floats:
        return np.full(len(row.candidates), 1 / len(row.candidates))


class FixedPolicy(Unchanging):
    """Always one item, whatever the slot; nothing where it is no candidate."""

    def __init__(self, action: int) -> None:
        self._action = action

    def probabilities(self, row: LoggedRow) -> Floats:
        probabilities: Floats = (row.candidates == self._action).astype(np.float64)
        return probabilities


class SlotPolicy(Unchanging):
    """Probabilities ``(n_slots, n_actions)`` that depend on the slot alone."""

    def __init__(self, probabilities: Floats) -> None:
        self._probabilities = probabilities

    def probabilities(self, row: LoggedRow) -> Floats:
        chosen: Floats = self._probabilities[row.slot, row.candidates]
        return chosen


class ColumnPolicy(Unchanging):
    """The candidate with the greatest value of a column, the first of equal ones.

    It stands for the blend, which ranks live by its logits. Only decisions of the blend itself hold
    those, all others its column: the logits standardized over the candidates, in the same order but
    for candidates more than 8 deviations above the mean, the bound of a column, or as close as the
    last digit of a float32: they are equal here.

    Parameters
    ----------
    column
        Its place among the features of the log.
    """

    needs_features = True

    def __init__(self, column: int) -> None:
        self._column = column

    def probabilities(self, row: LoggedRow) -> Floats:
        column = np.ascontiguousarray(row.features[:, self._column])
        draw = draw_best(column, 1, seed=0, uniform_share=0.0, composition=row.composition)
        chosen: Floats = np.zeros(len(row.candidates))
        chosen[draw.order] = 1.0
        return chosen


class LoggedPolicy(Unchanging):
    """What another log shows for the same request in the same slot.

    That is a draw of its policy, so the probability is 0 or 1: unbiased over its draws, when these
    do not depend on those of the log.
    """

    def __init__(self, slates: LoggedSlates, survey: Survey) -> None:
        self._slates = slates
        self._survey = survey

    def probabilities(self, row: LoggedRow) -> Floats:
        actions, positions = self._survey.actions, self._survey.positions
        items = (actions[action] for action in row.candidates)
        return self._slates.shows(row.request_id, items, positions[row.slot]).astype(np.float64)

    def remarks(self) -> Iterator[str]:
        """Return what of the other log was not used."""
        return self._slates.remarks()
